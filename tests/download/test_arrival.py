"""The archives arrive, from a folder, a URL, an official place, or drawn."""

import functools
import re
from pathlib import Path

import pytest

from pipeline.data import embedded
from pipeline.download import download
from tests.download.server import (
    ARCHIVES,
    breaks_off,
    failure,
    final,
    marked_as_gzip,
    other_bytes,
    page,
    ranges,
    status,
    untold_length,
)


def test_from_a_folder(folder, capsys):
    download()
    assert final() == ARCHIVES
    assert not list(Path("data/raw").glob("*.part"))
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"(\w+\.tar\.gz: [\d.]+kB from {folder} in [\d.]+ s\n){{2}}", out)
    assert err == ""  # no progress bar where there is no terminal


@pytest.mark.parametrize("relative", ["mirror", "./mirror/", "../{parent}/mirror"])
def test_a_relative_folder_starts_at_the_repository(folder, tmp_path, monkeypatch, relative):
    """`dvc exp run --temp` runs the stage in a temporary copy and names the repository in DVC_ROOT."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", relative.format(parent=tmp_path.name))
    download()
    assert final() == ARCHIVES


def test_a_folder_in_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", "~/mirror")
    download()
    assert final() == ARCHIVES


@pytest.mark.parametrize("answer", [ranges, untold_length, marked_as_gzip])
@pytest.mark.parametrize("below", ["", "pets", "pets/"])
def test_from_a_url(serve, monkeypatch, answer, below):
    server = serve(answer)
    monkeypatch.setenv("PETS_SOURCE", server.url + below)
    download()
    assert final() == ARCHIVES
    assert server.asked == [None]


def test_an_empty_pets_source_is_none(serve, official, monkeypatch):
    official(serve(ranges).url)
    monkeypatch.setenv("PETS_SOURCE", "")
    download()
    assert final() == ARCHIVES


@pytest.mark.parametrize("first", [status(404), status(500), page, other_bytes, breaks_off])
def test_the_second_official_place_is_tried(serve, official, first):
    official(serve(first).url, serve(ranges).url)
    download()
    assert final() == ARCHIVES


def test_pets_source_alone_is_tried_if_set(serve, official, monkeypatch):
    good, bad = serve(ranges), serve(status(404))
    official(good.url)
    monkeypatch.setenv("PETS_SOURCE", bad.url)
    failure(f"{bad.url}: HTTP 404")
    assert good.requests == []


@pytest.fixture
def embedded_dataset(monkeypatch):
    monkeypatch.setattr(embedded, "draw", functools.partial(embedded.draw, per_breed=5))
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("dataset: official", "dataset: embedded"))


def test_the_embedded_pets_need_no_place(embedded_dataset, monkeypatch):
    monkeypatch.setenv("PETS_SOURCE", "/no/such/pets")
    download()
    assert sorted(path.name for path in Path("data/raw").iterdir()) == ["annotations.tar.gz", "images.tar.gz"]
    assert all(final().values())


def test_half_drawn_pets_leave_nothing(embedded_dataset, monkeypatch):
    def draw(folder):
        (folder / "images.tar.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        download()
    assert list(Path("data/raw").iterdir()) == []
