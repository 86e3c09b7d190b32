"""The archives arrive, from a folder, a URL, an official place, or drawn."""

import functools
import re
import shutil
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
from tests.helpers.project import write_params


def test_from_a_folder(folder, capsys):
    download()
    assert final() == ARCHIVES
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"(\w+\.tar\.gz: [\d.]+kB from {folder} in [\d.]+ s\n){{2}}", out)
    assert err == ""  # no progress bar where there is no terminal


@pytest.mark.parametrize("relative", ["mirror", "../{parent}/mirror"])
def test_a_relative_folder_starts_at_the_repository_and_what_was_verified_lies_there(
    folder, tmp_path, monkeypatch, relative
):
    """`dvc exp run --temp` runs the stage in a temporary copy and names the repository in DVC_ROOT."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", relative.format(parent=tmp_path.name))
    for copy in ("first", "second"):
        shutil.copytree(tmp_path / "pipeline", tmp_path / copy / "pipeline")
        shutil.copy(tmp_path / "params.yaml", tmp_path / copy)
        shutil.copy(tmp_path / "dvc.yaml", tmp_path / copy)
        monkeypatch.chdir(tmp_path / copy)
        download()
        assert final() == ARCHIVES
        shutil.rmtree(folder, ignore_errors=True)  # the second does not need it


def test_a_folder_in_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", "~/mirror")
    download()
    assert final() == ARCHIVES


@pytest.mark.parametrize(
    ("answer", "below"), [(ranges, ""), (ranges, "pets"), (untold_length, "pets/"), (marked_as_gzip, "")]
)
def test_from_a_url(serve, monkeypatch, answer, below):
    server = serve(answer)
    monkeypatch.setenv("PETS_SOURCE", server.url + below)
    download()
    assert final() == ARCHIVES
    assert server.asked == [None]


@pytest.mark.parametrize("first", [status(404), status(500), page, other_bytes, breaks_off])
def test_the_second_official_place_is_tried_and_an_empty_pets_source_is_none(serve, places, monkeypatch, first):
    places(serve(first).url, serve(ranges).url)
    monkeypatch.setenv("PETS_SOURCE", "")
    download()
    assert final() == ARCHIVES


def test_pets_source_alone_is_tried_if_set(serve, places, monkeypatch):
    good, bad = serve(ranges), serve(status(404))
    places(good.url)
    monkeypatch.setenv("PETS_SOURCE", bad.url)
    failure(f"{bad.url}: HTTP 404")
    assert good.requests == []


def test_the_embedded_pets_need_no_place(monkeypatch):
    monkeypatch.setattr(embedded, "draw", functools.partial(embedded.draw, per_breed=1))
    monkeypatch.setenv("PETS_SOURCE", "/no/such/pets")
    write_params(Path(), download={"dataset": "embedded"})
    download()
    assert sorted(final()) == ["annotations.tar.gz", "images.tar.gz"]
    assert all(final().values())


def test_half_drawn_pets_leave_what_was_there(folder, monkeypatch):
    def draw(folder):
        (folder / "images.tar.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    download()
    monkeypatch.setattr(embedded, "draw", draw)
    write_params(Path(), download={"dataset": "embedded"})
    with pytest.raises(KeyboardInterrupt):
        download()
    assert final() == ARCHIVES
    assert [path.name for path in Path("data").iterdir()] == ["raw"]
