"""The two archives arrive verified, from wherever they lie; once here, they are never transferred again."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pipeline.data import official, transfer
from pipeline.download import download
from pipeline.errors import InputError
from tests.download import server as answers
from tests.download.server import ARCHIVES, HALF, IMAGES, Server, breaks_off, ranges, stalls, whole
from tests.helpers.disks import small_disk
from tests.helpers.project import REPOSITORY, run_in, start_stage, write_params

CHECKSUMS = {name.replace(".tar.gz", "_sha256"): hashlib.sha256(data).hexdigest() for name, data in ARCHIVES.items()}
VERIFIED = Path(".downloads", f"{CHECKSUMS['images_sha256'][:12]}-images.tar.gz")
PART = VERIFIED.with_name(f"{VERIFIED.name}.part")


def make_project(folder):
    """params.yaml wants ARCHIVES."""
    shutil.copytree(REPOSITORY / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    write_params(folder, download=CHECKSUMS)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    make_project(tmp_path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """PETS_SOURCE: a folder with both archives."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, data in ARCHIVES.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("PETS_SOURCE", str(folder))
    return folder


@pytest.fixture
def serve(monkeypatch):
    """serve(answer, ...) starts a server and makes it PETS_SOURCE."""
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        monkeypatch.setenv("PETS_SOURCE", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def final():
    return {path.name: path.read_bytes() for path in Path("data/raw").glob("*")}


def failure(expected):
    """The one line the stage ends with, which begins as expected and says how to go on; data/raw is not made then."""
    with pytest.raises(InputError) as caught:
        download()
    line = str(caught.value)
    assert re.match(expected, line), line
    assert re.fullmatch(r".*; run again, set PETS_SOURCE=<folder or URL .*, or run `make demo` .*", line)
    assert final() == {}
    return line


def wait_for_bytes(more_than=0):
    deadline = time.monotonic() + 10
    while not PART.exists() or PART.stat().st_size <= more_than:
        assert time.monotonic() < deadline, "no bytes have come"
        time.sleep(0.01)


def test_from_a_folder_once_and_again_when_damaged_without_a_change_to_what_is_linked_to_it(folder, capsys):
    says = f"images.tar.gz: 300,000 bytes from {folder}\n"
    download()
    assert final() == ARCHIVES
    assert capsys.readouterr() == (f"annotations.tar.gz: 1,002 bytes from {folder}\n{says}", ""), "no progress bar"
    VERIFIED.unlink()
    VERIFIED.write_bytes(IMAGES[:-1] + b"x")
    Path("linked").hardlink_to(VERIFIED)
    download()
    assert final() == ARCHIVES
    assert capsys.readouterr().out == says
    assert Path("linked").read_bytes() == IMAGES[:-1] + b"x"


@pytest.mark.parametrize("source", ["mirror", "~/mirror"])
def test_an_experiment_in_a_temporary_folder_shares_source_and_archives(folder, tmp_path, monkeypatch, source):
    """`dvc exp run --temp` names the repository in DVC_ROOT. A relative folder starts there."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", source)
    for copy in (tmp_path / "first", tmp_path / "second"):
        make_project(copy)
        monkeypatch.chdir(copy)
        download()
        assert final() == ARCHIVES
        shutil.rmtree(folder, ignore_errors=True)  # the second does not need it


@pytest.mark.parametrize(("answer", "below"), [("ranges", ""), ("untold_length", "pets"), ("marked_as_gzip", "pets/")])
def test_from_a_url_or_without_a_source_from_where_they_are_published(serve, monkeypatch, answer, below):
    server = serve(getattr(answers, answer))
    monkeypatch.setattr(official, "PLACE", server.url + below)
    monkeypatch.setenv("PETS_SOURCE", "" if answer == "ranges" else official.PLACE)
    download()
    assert final() == ARCHIVES
    assert len(server.asked) == 1


@pytest.mark.slow
def test_neither_force_nor_embedded_pets_and_back_transfer_again(folder):
    run_in(Path(), "dvc", "init", "--quiet", "--no-scm")
    run_in(Path(), "dvc", "repro", "download", PETS_SOURCE=str(folder))
    shutil.rmtree(folder)
    again = run_in(Path(), "dvc", "repro", "--force", "download", PETS_SOURCE=str(folder))
    assert (again.stderr, final()) == ("", ARCHIVES)
    assert "bytes from" not in again.stdout

    write_params(Path(), download=CHECKSUMS | {"dataset": "embedded"})
    run_in(Path(), "dvc", "repro", "download", PETS_SOURCE="/no/such/pets")
    assert (final().keys(), final() == ARCHIVES) == (ARCHIVES.keys(), False)
    write_params(Path(), download=CHECKSUMS)
    run_in(Path(), "dvc", "repro", "--no-run-cache", "download", PETS_SOURCE=str(folder))
    assert final() == ARCHIVES


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_an_archive_is_copied_where_it_cannot_be_linked(serve):
    serve(ranges)
    with small_disk(VERIFIED.parent, 64), pytest.raises(InputError, match=r"/\.downloads: No space left on device; "):
        download()
    with small_disk(Path("data"), 400):
        download()
        assert final() == ARCHIVES


def test_the_next_run_asks_only_for_the_rest_after_a_break_or_ctrl_c(serve):
    server = serve(breaks_off, stalls, whole())
    line = failure(f"images.tar.gz: {server.url}: ")
    size = PART.stat().st_size
    assert f"; {size:,} bytes are kept for the next run; " in line

    def press():
        wait_for_bytes(more_than=size)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        download()
    more = PART.stat().st_size
    assert (more > size, final()) == (True, {})
    download()
    assert final() == ARCHIVES, "of a server that ignores what it is asked for, too"
    assert server.asked == ["bytes=0-", f"bytes={size}-", f"bytes={more}-"]


@pytest.mark.parametrize(("size", "asked"), [(HALF, [f"bytes={HALF}-"]), (len(IMAGES), [])])
def test_bytes_that_came_earlier_are_used_and_wrong_ones_cost_one_run(serve, size, asked):
    server = serve(ranges)
    PART.parent.mkdir()
    PART.write_bytes(b"x" * size)
    failure("images.tar.gz: .*: wrong bytes: ")
    assert not PART.exists()
    PART.write_bytes(IMAGES[:size])
    download()
    assert final() == ARCHIVES
    assert server.asked == [f"bytes={size}-", *asked]


@pytest.mark.slow
def test_two_at_once_do_not_mix_and_the_second_goes_on_after_a_kill_of_the_first(serve, tmp_path):
    server = serve(stalls, ranges)
    make_project(tmp_path / "experiment")
    first = start_stage(tmp_path / "experiment", "download", PETS_SOURCE=server.url, DVC_ROOT=str(tmp_path))
    wait_for_bytes()
    second = start_stage(tmp_path, "download", PETS_SOURCE=server.url)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    assert len(server.asked) == 1, "the second waits"
    first.kill()
    first.communicate()
    assert second.communicate(timeout=30)[1] == ""
    assert final() == ARCHIVES
    assert re.fullmatch(r"bytes=[1-9]\d+-", server.asked[1])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("http://pets.invalid/", r"http://pets.invalid/: .*[Nn]ame"),
        ("/no/such/pets", "/no/such/pets: .*No such file"),
        ("ftp://me:secret@host/pets", "ftp://host/pets: No connection adapters"),
    ],
)
def test_a_source_that_cannot_be_used(monkeypatch, source, says):
    monkeypatch.setenv("PETS_SOURCE", source)
    line = failure(f"annotations.tar.gz: {says}")
    assert not re.search("object at 0x|kept|secret", line)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("silent", "timed out"),
        ("stalls", r".*timed out.*; [\d,]+ bytes are kept"),
        ("forbidden", "403 Client Error: Forbidden"),
        ("other_bytes", "wrong bytes: found 300,000 bytes with sha256 {found}, params.yaml wants {wanted}"),
    ],
)
def test_a_server_that_gives_nothing_or_something_else(serve, monkeypatch, answer, says):
    monkeypatch.setattr(transfer, "TIMEOUT", (0.2, 0.2))
    found, wanted = (hashlib.sha256(data).hexdigest() for data in (IMAGES[::-1], IMAGES))
    url = serve(getattr(answers, answer)).url
    failure(f"images.tar.gz: {url}: {says.format(found=found, wanted=wanted)}")
    assert PART.exists() == (answer == "stalls")


@pytest.mark.parametrize("password", ["secret", "se@cret", "se#cret", "se?cret", "se%2Fcret"])
@pytest.mark.parametrize("answer", ["ranges", "forbidden"])
def test_a_password_stays_secret(serve, monkeypatch, capsys, answer, password):
    monkeypatch.setenv("PETS_SOURCE", serve(getattr(answers, answer)).url.replace("//", f"//me:{password}@"))
    line = ""
    try:
        download()
    except InputError as error:
        line = str(error)
    printed = line + "".join(capsys.readouterr())
    assert "127.0.0.1" in printed
    assert not re.search("me:|se.*cret|'se", printed.replace("annotations.tar.gz", "").replace("images.tar.gz", ""))
