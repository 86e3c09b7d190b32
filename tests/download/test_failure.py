"""Each way to fail has its own line, which says how to go on."""

import errno
import hashlib
import os
import re
import socket
import time
from pathlib import Path

import pytest

from pipeline.data import transfer
from pipeline.download import download
from pipeline.errors import InputError
from tests.download.server import (
    ARCHIVES,
    HALF,
    IMAGES,
    PART,
    VERIFIED,
    WAY_OUT,
    failure,
    final,
    other_bytes,
    page,
    ranges,
    silent,
    stalls,
    status,
    untold_length,
)
from tests.helpers.disks import small_disk
from tests.helpers.project import start_stage


def test_no_network(places):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    unknown = "http://pets.invalid/"
    places(unknown, refused)
    line = failure("annotations.tar.gz", f"{unknown}: no answer", f"{refused}: no answer", "refused", *WAY_OUT)
    assert "object at 0x" not in line


@pytest.mark.parametrize(("answer", "says"), [(silent, "no answer (timed out)"), (stalls, "broke off")])
def test_a_server_that_says_nothing_or_stops_talking(serve, monkeypatch, answer, says):
    monkeypatch.setattr(transfer, "TIMEOUT", (0.2, 0.2))
    started = time.monotonic()
    failure(f"images.tar.gz: {serve(answer).url}: {says}", "timed out", *WAY_OUT)
    assert time.monotonic() - started < 2


FOUND, WANTED = (hashlib.sha256(data).hexdigest() for data in (IMAGES[::-1], IMAGES))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(404), "HTTP 404 Not Found"),
        (status(500), "HTTP 500"),
        (status(401), "HTTP 401"),
        (page, "a web page instead of an archive"),
        (other_bytes, f"wrong bytes: found 300,000 bytes with sha256 {FOUND}, params.yaml wants {WANTED}"),
    ],
)
def test_a_server_that_gives_something_else(serve, answer, says):
    failure(f"images.tar.gz: {serve(answer).url}: {says}", *WAY_OUT)
    assert not PART.exists()


def test_a_shorter_file_in_the_folder(folder):
    (folder / "images.tar.gz").write_bytes(IMAGES[:HALF])
    failure(f"images.tar.gz: {folder}: wrong bytes: found {HALF:,} bytes", *WAY_OUT)
    assert not PART.exists()


def test_no_such_folder(monkeypatch):
    monkeypatch.setenv("PETS_SOURCE", "/no/such/pets")
    failure("annotations.tar.gz: /no/such/pets: no such folder", *WAY_OUT)


def test_a_folder_without_the_archive(folder):
    (folder / "images.tar.gz").unlink()
    failure(f"{folder}: no file images.tar.gz in this folder", *WAY_OUT)


@pytest.mark.parametrize("source", ["ftp://me:secret@host/pets", "file:///pets", "s3://pets"])
def test_another_kind_of_source(monkeypatch, source):
    monkeypatch.setenv("PETS_SOURCE", source)
    line = failure("PETS_SOURCE=", f"{source.split(':')[0]}:// is not supported", *WAY_OUT)
    assert "secret" not in line


@pytest.mark.parametrize("password", ["secret", "se@cret", "se#cret", "se?cret", "se%2Fcret"])
@pytest.mark.parametrize("answer", [ranges, status(403)])
def test_a_password_stays_secret(serve, monkeypatch, capsys, answer, password):
    monkeypatch.setenv("PETS_SOURCE", serve(answer).url.replace("//", f"//me:{password}@"))
    line = ""
    try:
        download()
    except InputError as error:
        line = str(error)
    printed = line + "".join(capsys.readouterr())
    assert "127.0.0.1" in printed
    assert not re.search("me:|se.*cret|'se", printed.replace("annotations.tar.gz", "").replace("images.tar.gz", ""))


def test_a_full_disk_is_seen_before_the_transfer(serve):
    server = serve(ranges)
    with small_disk(VERIFIED.parent, 64):
        failure(f"{PART}: disk full", "kB free, 300kB needed", "make room", "run again", "`make demo`")
        assert not PART.exists()
    assert server.asked == [None]


def test_a_disk_with_room_for_the_rest(serve):
    serve(ranges)
    with small_disk(VERIFIED.parent, 320):
        PART.write_bytes(IMAGES[:HALF])
        download()
        assert final() == ARCHIVES


def test_a_disk_that_fills_up(serve):
    """The server does not tell the size, so that it cannot be known beforehand."""
    serve(untold_length)
    with small_disk(VERIFIED.parent, 64):
        failure(".downloads: ", os.strerror(errno.ENOSPC), "make room and run again, nothing is lost")


def test_no_permission_to_write(folder):
    for path in (Path.cwd(), folder):
        path.chmod(0o755)
    Path("data").mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        failure("data/draft-raw: Permission denied; give this user access and run again")
    finally:
        os.seteuid(user)


def test_the_program_prints_that_line_and_nothing_else(tmp_path):
    out, err = (process := start_stage(tmp_path, "download", PETS_SOURCE="/no/such/pets")).communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"download: annotations\.tar\.gz: /no/such/pets: no such folder; .*\n", err)
