"""The places from which the stage can download, all of them on this machine."""

import hashlib
import re
from pathlib import Path

import pytest

from pipeline import download as stage
from tests.download.server import ARCHIVES, Server
from tests.helpers.project import REPOSITORY


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty repository whose params.yaml wants ARCHIVES."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    text = (REPOSITORY / "params.yaml").read_text()
    for name, data in ARCHIVES.items():
        key = name.split(".")[0] + "_sha256"
        text = re.sub(rf"{key}: \w+", f"{key}: {hashlib.sha256(data).hexdigest()}", text)
    Path("params.yaml").write_text(text)


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
def official(monkeypatch):
    """official(url, ...) stands these in for the two official places."""

    def stand_in(*urls):
        monkeypatch.delenv("PETS_SOURCE", raising=False)
        monkeypatch.setattr(stage, "OFFICIAL_PLACES", urls)

    return stand_in
