"""The two archives arrive verified, from wherever they lie; once here, they are never transferred again."""

import functools
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pipeline.data import embedded, official, transfer
from pipeline.download import download
from pipeline.errors import InputError
from tests.download import server as answers
from tests.download.server import ARCHIVES, HALF, IMAGES, Server, breaks_off, not_found, page, ranges, stalls, whole
from tests.helpers.disks import small_disk
from tests.helpers.project import REPOSITORY, run_in, start_stage, write_params

CHECKSUMS = {name.replace(".tar.gz", "_sha256"): hashlib.sha256(data).hexdigest() for name, data in ARCHIVES.items()}
EMBEDDED = CHECKSUMS | {"dataset": "embedded"}
VERIFIED = Path(".downloads", f"{CHECKSUMS['images_sha256'][:12]}-images.tar.gz")
PART = VERIFIED.with_name(f"{VERIFIED.name}.part")
WAY_OUT = ("set PETS_SOURCE=<folder or URL", "`make demo`")


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


@pytest.fixture
def places(monkeypatch):
    """places(url, ...) stands these in for the two official places; an empty PETS_SOURCE is none."""

    def stand_in(*urls):
        monkeypatch.setenv("PETS_SOURCE", "")
        monkeypatch.setattr(official, "PLACES", urls)

    return stand_in


def final():
    return {path.name: path.read_bytes() for path in Path("data/raw").glob("*")}


def failure(*expected):
    """The one line the stage ends with; data/raw is not made then."""
    with pytest.raises(InputError) as caught:
        download()
    line = str(caught.value)
    assert "\n" not in line
    for text in expected:
        assert text in line
    assert final() == {}
    return line


def wait_for_bytes():
    deadline = time.monotonic() + 10
    while not PART.exists() or PART.stat().st_size == 0:
        assert time.monotonic() < deadline, "no bytes have come"
        time.sleep(0.01)


def test_from_a_folder(folder, capsys):
    download()
    assert final() == ARCHIVES
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"(\w+\.tar\.gz: [\d.]+kB from {folder} in [\d.]+ s\n){{2}}", out)
    assert err == ""  # no progress bar where there is no terminal


@pytest.mark.parametrize("source", ["mirror", "../{parent}/mirror", "~/mirror"])
def test_an_experiment_in_a_temporary_folder_shares_source_and_archives(folder, tmp_path, monkeypatch, source):
    """`dvc exp run --temp` names the repository in DVC_ROOT. A relative folder starts there."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PETS_SOURCE", source.format(parent=tmp_path.name))
    for copy in (tmp_path / "first", tmp_path / "second"):
        make_project(copy)
        monkeypatch.chdir(copy)
        download()
        assert final() == ARCHIVES
        shutil.rmtree(folder, ignore_errors=True)  # the second does not need it


@pytest.mark.parametrize("answer", ["ranges", "untold_length", "marked_as_gzip"])
@pytest.mark.parametrize("below", ["", "pets", "pets/"])
def test_from_a_url(serve, monkeypatch, answer, below):
    server = serve(getattr(answers, answer))
    monkeypatch.setenv("PETS_SOURCE", server.url + below)
    download()
    assert final() == ARCHIVES
    assert server.asked == [None]


@pytest.mark.parametrize("first", ["not_found", "broken", "page", "other_bytes", "breaks_off"])
def test_the_second_official_place_goes_on_where_the_first_ended(serve, places, first):
    second = serve(ranges)
    places(serve(getattr(answers, first)).url, second.url)
    download()
    assert final() == ARCHIVES
    assert (second.asked == [None]) == (first != "breaks_off")


def test_pets_source_alone_is_tried_if_set(serve, places, monkeypatch):
    good, bad = serve(ranges), serve(not_found)
    places(good.url)
    monkeypatch.setenv("PETS_SOURCE", bad.url)
    failure(f"images.tar.gz: {bad.url}: HTTP 404 Not Found; set PETS_SOURCE")
    assert good.requests == []


def test_embedded_pets_need_no_place_and_half_drawn_ones_leave_what_was_there(monkeypatch):
    def draw(folder):
        (folder / "images.tar.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    write_params(Path(), download=EMBEDDED)
    monkeypatch.setenv("PETS_SOURCE", "/no/such/pets")
    monkeypatch.setattr(embedded, "draw", functools.partial(embedded.draw, per_breed=1))
    download()
    drawn = final()
    assert drawn.keys() == ARCHIVES.keys()
    monkeypatch.setattr(embedded, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        download()
    assert final() == drawn
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


@pytest.mark.slow
def test_neither_force_nor_embedded_pets_and_back_transfer_again(folder):
    run_in(Path(), "dvc", "init", "--quiet", "--no-scm")
    run_in(Path(), "dvc", "repro", "download", PETS_SOURCE=str(folder))
    shutil.rmtree(folder)
    again = run_in(Path(), "dvc", "repro", "--force", "download", PETS_SOURCE=str(folder))
    assert (again.stderr, final()) == ("", ARCHIVES)
    assert "kB from" not in again.stdout

    write_params(Path(), download=EMBEDDED)
    run_in(Path(), "dvc", "repro", "download")
    assert final().keys() == ARCHIVES.keys()
    write_params(Path(), download=CHECKSUMS)
    run_in(Path(), "dvc", "repro", "--no-run-cache", "download", PETS_SOURCE=str(folder))
    assert final() == ARCHIVES

    for name in ("download.py", "data/transfer.py", "data/embedded.py"):
        with Path("pipeline", name).open("a") as file:
            file.write("# edited\n")
    assert "up to date" in run_in(Path(), "dvc", "status", "download").stdout


def test_a_damaged_archive_is_fetched_again_and_what_is_linked_to_it_is_not_changed(serve):
    serve(ranges)
    download()
    VERIFIED.unlink()
    VERIFIED.write_bytes(IMAGES[:-1] + b"x")
    Path("linked").hardlink_to(VERIFIED)
    download()
    assert final() == ARCHIVES
    assert VERIFIED.read_bytes() == IMAGES
    assert Path("linked").read_bytes() == IMAGES[:-1] + b"x"


def test_an_archive_is_copied_where_it_cannot_be_linked(folder):
    with small_disk(Path("data"), 400):
        download()
        assert final() == ARCHIVES


def test_the_next_run_asks_only_for_the_rest(serve):
    server = serve(breaks_off, breaks_off, ranges)
    sizes = [0]
    for _ in range(2):
        line = failure("images.tar.gz", server.url, "broke off", f"of {len(IMAGES):,} bytes are kept", *WAY_OUT)
        sizes.append(PART.stat().st_size)
        assert f"{sizes[-1]:,} of" in line
    download()
    assert final() == ARCHIVES
    assert 0 < sizes[1] < sizes[2]
    assert server.asked == [None, f"bytes={sizes[1]}-", f"bytes={sizes[2]}-"]
    assert [name for name, _ in server.requests].count("annotations.tar.gz") == 1  # it was there already


@pytest.mark.parametrize("answer", [ranges, whole()], ids=["ranges", "ignores ranges"])
@pytest.mark.parametrize(
    "old",
    [IMAGES, IMAGES[:HALF], b"x" * HALF, b"x" * len(IMAGES), b"x" * len(IMAGES) * 2, b""],
    ids=["whole", "right", "wrong", "wrong and whole", "too long", "empty"],
)
def test_whatever_lies_in_the_part_file_the_right_bytes_come_out(serve, answer, old):
    server = serve(answer)
    PART.parent.mkdir()
    PART.write_bytes(old)
    download()
    assert final() == ARCHIVES
    assert len(server.asked) <= (0 if old == IMAGES else 2)


def test_bytes_of_other_data_are_never_continued(serve):
    server = serve(ranges)
    PART.parent.mkdir()
    PART.with_name("0123456789ab-images.tar.gz.part").write_bytes(b"x" * HALF)
    download()
    assert server.asked == [None]


def test_a_page_does_not_cost_the_bytes_so_far(serve):
    serve(page)
    PART.parent.mkdir()
    PART.write_bytes(IMAGES[:HALF])
    failure("a web page instead of an archive")
    assert PART.read_bytes() == IMAGES[:HALF]


def test_ctrl_c_keeps_the_bytes_so_far(serve):
    server = serve(stalls, ranges)

    def press():
        wait_for_bytes()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        download()
    assert final() == {}
    download()
    assert final() == ARCHIVES
    assert re.fullmatch(r"bytes=[1-9]\d+-", server.asked[1])


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


def test_no_network(places):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    unknown = "http://pets.invalid/"
    places(unknown, refused)
    line = failure("annotations.tar.gz", f"{unknown}: no answer", f"{refused}: no answer", "refused", *WAY_OUT)
    assert "object at 0x" not in line


@pytest.mark.parametrize(("answer", "says"), [("silent", "no answer (timed out)"), ("stalls", "broke off")])
def test_a_server_that_says_nothing_or_stops_talking(serve, monkeypatch, answer, says):
    monkeypatch.setattr(transfer, "TIMEOUT", (0.2, 0.2))
    started = time.monotonic()
    failure(f"images.tar.gz: {serve(getattr(answers, answer)).url}: {says}", "timed out", *WAY_OUT)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("not_found", "HTTP 404 Not Found"),
        ("broken", "HTTP 500"),
        ("page", "a web page instead of an archive"),
        ("other_bytes", "wrong bytes: found 300,000 bytes with sha256 {found}, params.yaml wants {wanted}"),
    ],
)
def test_a_server_that_gives_something_else(serve, answer, says):
    found, wanted = (hashlib.sha256(data).hexdigest() for data in (IMAGES[::-1], IMAGES))
    url = serve(getattr(answers, answer)).url
    failure(f"images.tar.gz: {url}: {says.format(found=found, wanted=wanted)}", *WAY_OUT)
    assert not PART.exists()


def test_a_folder_with_a_shorter_file_or_none(folder):
    (folder / "images.tar.gz").write_bytes(IMAGES[:HALF])
    failure(f"images.tar.gz: {folder}: wrong bytes: found {HALF:,} bytes", *WAY_OUT)
    (folder / "images.tar.gz").unlink()
    failure(f"images.tar.gz: {folder}: no file images.tar.gz in this folder", *WAY_OUT)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/no/such/pets", "annotations.tar.gz: /no/such/pets: no such folder"),
        ("file:///pets", "PETS_SOURCE=file:///pets: file:// is not supported, https:// is"),
        ("ftp://me:secret@host/pets", "PETS_SOURCE=ftp://host/pets: ftp:// is not supported, https:// is"),
    ],
)
def test_a_source_that_cannot_be_used(monkeypatch, source, says):
    monkeypatch.setenv("PETS_SOURCE", source)
    failure(says, *WAY_OUT)


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


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("ranges", "kB free, 300kB needed; make room and run again, or run `make demo` (a few MB)"),
        ("untold_length", ".downloads: No space left on device; make room and run again, nothing is lost"),
    ],
    ids=["before the transfer", "while it fills up"],
)
def test_a_full_disk(serve, answer, says):
    serve(getattr(answers, answer))
    with small_disk(VERIFIED.parent, 64):
        failure(says)


def test_a_disk_with_room_for_the_rest(serve):
    serve(ranges)
    with small_disk(VERIFIED.parent, 320):
        PART.write_bytes(IMAGES[:HALF])
        download()
        assert final() == ARCHIVES


def test_the_program_prints_that_line_and_nothing_else(tmp_path):
    out, err = (process := start_stage(tmp_path, "download", PETS_SOURCE="/no/such/pets")).communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"download: annotations\.tar\.gz: /no/such/pets: no such folder; .*\n", err)
