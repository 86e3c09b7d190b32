"""Fixtures over servers.py: each server is started once, by the first test that asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URI of a temporary PostgreSQL."""
    with servers.postgres() as uri:
        yield uri


@pytest.fixture(scope="session")
def mlflow_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.MlflowServer]:
    """The one `mlflow server` of the session, with what other tests have left in it."""
    with servers.mlflow_server(postgres, tmp_path_factory.mktemp("mlflow_server")) as server:
        yield server


@pytest.fixture
def server(
    prepared: Path, mlflow_server: servers.MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> servers.MlflowServer:
    """`prepared`, with an empty `mlflow server` on PostgreSQL as its store."""
    mlflow_server.empty()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    return mlflow_server


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, prepared: Path) -> Path:
    """`prepared`, once with its own store and once with the server's: what holds for one must hold for the other."""
    if request.param == "server":
        request.getfixturevalue("server")
    return prepared


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Sshd]:
    """An sshd that lets this user in."""
    with servers.sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
