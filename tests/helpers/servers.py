"""Real servers on loopback and in temporary folders: PostgreSQL, `mlflow server` on it, sshd; Chromium."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests
from playwright.sync_api import Browser, sync_playwright

from tests.helpers.programs import program
from tests.helpers.project import environment, run_in

STARTING = 60  # seconds that a server may take

SSHD = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def start(command: list[str], log: Path, is_ready: Callable[[], bool]) -> subprocess.Popen:
    """Start a server in a process group of its own, and return when it is ready."""
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            env=environment() | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + STARTING
    while not is_ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return process


def kill(process: subprocess.Popen) -> None:
    """End a server and all that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URI of a PostgreSQL that is reached only by a socket in a temporary folder."""
    initdb, pg_ctl = program("initdb", "postgresql"), program("pg_ctl", "postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    with tempfile.TemporaryDirectory() as name:  # pytest's folders are closed to the user postgres
        folder, data = Path(name), f"{name}/data"
        if user:
            shutil.chown(folder, "postgres")
        encoding = ["--encoding=UTF8", "--locale=C"]
        run_in(folder, *user, initdb, "--username=postgres", "--auth=trust", "--no-sync", *encoding, data)
        options = f"-F -k {folder} -c listen_addresses=''"  # no fsync, no port
        run_in(folder, *user, pg_ctl, "start", "--wait", "-D", data, "-l", f"{folder}/log", "-o", options)
        yield f"postgresql://postgres@/postgres?host={folder}"
        run_in(folder, *user, pg_ctl, "stop", "--mode=immediate", "-D", data)


class MlflowServer:
    """`mlflow server` on a database, at one port for good: it may be stopped, started and made to hang.

    folder: its artifacts and its log.
    """

    def __init__(self, database: str, folder: Path):
        self.database, self.folder, self.port = database, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", self.database, "--artifacts-destination", str(self.folder / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", *place, *store, "--serve-artifacts"]
        self.process = start(command, self.folder / "log", lambda: is_up(f"{self.url}/health"))

    def empty(self) -> None:
        """Delete all but what a new store has: the experiment Default."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            names = {name for (name,) in rows} - {"alembic_version", "workspaces", "experiments"}
            connection.execute(f"TRUNCATE {', '.join(sorted(names))}")
            connection.execute("DELETE FROM experiments WHERE experiment_id <> 0")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within: nobody answers. Afterwards: there again, with all that it had."""
        kill(self.process)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Within: connections are accepted and never answered."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def mlflow_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The one `mlflow server` of the session, with what other tests have left in it."""
    server = MlflowServer(postgres, tmp_path_factory.mktemp("mlflow_server"))
    server.start()
    yield server
    kill(server.process)


@pytest.fixture
def server(prepared: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
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


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of this machine for an sshd that lets this user in, and the user's key."""
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    for name in ("host", "user"):
        run_in(folder, program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", name)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it; Debian's service makes it
    (folder / "config").write_text(SSHD.format(port=port, folder=folder))
    command = [program("sshd", "openssh-server"), "-D", "-e", "-f", str(folder / "config")]
    process = start(command, folder / "log", lambda: is_open(port))
    yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", folder / "user"
    kill(process)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    path = program("chromium", "chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=flags)
