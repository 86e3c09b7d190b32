"""The places from which the stage can download, all of them on this machine."""

import shutil
from pathlib import Path

import pytest

from pipeline.data import official
from tests.download.server import ARCHIVES, CHECKSUMS, PART, Server
from tests.helpers.project import REPOSITORY, write_params


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """The working directory, a project whose params.yaml wants ARCHIVES."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_params(tmp_path, download=CHECKSUMS)
    shutil.copytree(REPOSITORY / "pipeline", "pipeline", ignore=shutil.ignore_patterns("__pycache__"))


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
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def places(monkeypatch):
    """places(url, ...) stands these in for the two official places."""

    def stand_in(*urls):
        monkeypatch.delenv("PETS_SOURCE", raising=False)
        monkeypatch.setattr(official, "PLACES", urls)

    return stand_in


@pytest.fixture
def part():
    """part(content) is what an earlier run has got of images.tar.gz."""

    def write(content):
        PART.parent.mkdir()
        PART.write_bytes(content)

    return write
