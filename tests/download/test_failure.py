"""Each way to fail has its own line, which says how to go on."""

import errno
import hashlib
import os
import re
import socket
import time
from pathlib import Path

import pytest

from pipeline import download as stage
from pipeline.download import download
from pipeline.errors import InputError
from tests.download.server import (
    ARCHIVES,
    HALF,
    IMAGES,
    PAGE,
    WAY_OUT,
    failure,
    final,
    other_bytes,
    page,
    part,
    ranges,
    silent,
    stalls,
    start,
    status,
    untold_length,
)
from tests.helpers.disks import small_disk


def test_no_network(official):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    unknown = "http://pets.invalid/"
    official(unknown, refused)
    line = failure("annotations.tar.gz", f"{unknown}: no answer", f"{refused}: no answer", "refused", *WAY_OUT)
    assert "object at 0x" not in line


def test_a_server_that_says_nothing(serve, monkeypatch):
    monkeypatch.setattr(stage, "TIMEOUT", (0.2, 0.2))
    started = time.monotonic()
    failure("images.tar.gz", f"{serve(silent).url}: no answer (timed out)", *WAY_OUT)
    assert time.monotonic() - started < 2


def test_a_server_that_stops_talking(serve, monkeypatch):
    monkeypatch.setattr(stage, "TIMEOUT", (0.2, 0.2))
    failure("images.tar.gz", serve(stalls).url, "broke off", "timed out", *WAY_OUT)


@pytest.mark.parametrize(("code", "words"), [(404, "HTTP 404 Not Found"), (500, "HTTP 500"), (401, "HTTP 401")])
def test_http_status(serve, code, words):
    failure("images.tar.gz", serve(status(code)).url, words, *WAY_OUT)
    assert not part().exists()


def test_wrong_bytes(serve):
    found, wanted = (hashlib.sha256(data).hexdigest() for data in (IMAGES[::-1], IMAGES))
    failure("images.tar.gz", serve(other_bytes).url, f"{len(IMAGES):,} bytes", f"sha256 {found}", wanted, *WAY_OUT)
    assert not part().exists()


def test_a_web_page_instead_of_an_archive(serve):
    failure("images.tar.gz", serve(page).url, "a web page instead of an archive", *WAY_OUT)
    assert not part().exists()


def test_a_web_page_saved_as_an_archive(folder):
    (folder / "images.tar.gz").write_bytes(PAGE)
    failure("images.tar.gz", str(folder), "a web page instead of an archive", *WAY_OUT)
    assert not part().exists()


@pytest.mark.parametrize("size", [0, HALF])
def test_a_shorter_file_in_the_folder(folder, size):
    (folder / "images.tar.gz").write_bytes(IMAGES[:size])
    failure("images.tar.gz", str(folder), f"wrong bytes: found {size:,} bytes", *WAY_OUT)
    assert not part().exists()


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


def test_a_full_disk(serve):
    serve(ranges)
    with small_disk(Path("data/raw"), 64):
        failure("data/raw/images.tar.gz", "disk full", "kB free, 300kB needed", "make room", "run again", "`make demo`")
    download()
    assert final() == ARCHIVES


def test_a_disk_with_room_for_the_rest(serve):
    serve(ranges)
    with small_disk(Path("data/raw"), 320):
        part().write_bytes(IMAGES[:HALF])
        download()
        assert final() == ARCHIVES


def test_a_disk_that_fills_up(serve):
    """The server does not tell the size, so that it cannot be known beforehand."""
    serve(untold_length)
    with small_disk(Path("data/raw"), 64):
        failure("data/raw", os.strerror(errno.ENOSPC), "make room and run again, nothing is lost")


def test_no_permission_to_write(folder):
    for path in (Path.cwd(), folder):
        path.chmod(0o755)
    Path("data").mkdir(mode=0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        failure("data/raw: Permission denied; give this user access and run again")
    finally:
        os.seteuid(user)


def test_a_file_where_the_folder_belongs(folder):
    Path("data").write_text("")
    assert start().communicate(timeout=30) == ("", "download: File exists: data\n")


def test_the_program_prints_that_line_and_nothing_else(monkeypatch):
    monkeypatch.setenv("PETS_SOURCE", "/no/such/pets")
    out, err = (process := start()).communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch(r"download: annotations\.tar\.gz: /no/such/pets: no such folder; .*\n", err)
