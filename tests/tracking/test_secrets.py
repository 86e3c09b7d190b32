"""Names and passwords in the addresses of stores, remotes and sources: used, and written nowhere."""

import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.errors import InputError, without_secrets
from pipeline.evaluate import evaluate
from pipeline.tracking.store import StoreError, connect
from pipeline.tracking.sync import sync
from pipeline.train import train
from tests.helpers.programs import program
from tests.helpers.project import run_in
from tests.helpers.servers import MlflowServer
from tests.helpers.training import lock_outputs

SECRET = "hunter" + 9 * "2"  # this file does not hold it


def holders(folder: Path) -> list[Path]:
    """The files in a folder that hold the secret."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def dumped(server: MlflowServer) -> str:
    """All that is in a server's database."""
    command = [program("pg_dump", "postgresql"), "--data-only", "--dbname", server.database]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address, without scheme, of a server that answers every request with an error."""

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        do_HEAD = do_POST = do_GET

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("postgresql://me:pa/ss@host/db away", "postgresql://host/db away"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("https://host/?Token=secret; next", "https://host/?Token=*** next"),
        ("http://host:5000 away", "http://host:5000 away"),
        ("no nonsense:secret@x or 'me:pa:ss@host'", "no x or host'"),
        ("predict: photo@2x.png: no metric_key=loss", "predict: photo@2x.png: no metric_key=loss"),
        pytest.param(":" * 10**6, ":" * 10**6, id="a long one at once"),
    ],
)
def test_a_line_has_no_name_and_no_password(line: str, printed: str) -> None:
    assert without_secrets(line) == printed
    assert str(InputError(line)) == printed


@pytest.mark.slow
def test_what_an_mlflow_server_is_entered_with_is_written_nowhere(
    server: MlflowServer, prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    run_in(prepared, "git", "init", "--quiet")
    run_in(prepared, "git", "remote", "add", "origin", f"https://me:{SECRET}@127.0.0.1:9/pets.git")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url.replace("//", f"//{SECRET}:{SECRET}@"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    train("classifier")
    evaluate("classifier")
    lock_outputs("classifier")
    sync([])

    kept = dumped(server)
    assert "pets-classifier" in kept
    assert SECRET not in kept
    assert holders(server.folder) == []
    assert holders(prepared) == [prepared / ".git/config"]
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "uri",
    [
        *(f"http://me:{SECRET}@ADDRESS", f"http://me:se@{SECRET}@127.0.0.1:9", f"http://me:{SECRET}@[::1"),
        *(f"mssql://{SECRET}@h/db", f"a://{SECRET}@h", f"a:{SECRET}@h", f"me:{SECRET}@h"),
    ],
)
def test_a_store_that_refuses_is_one_short_line_without_what_it_was_entered_with(
    prepared: Path, refusing: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("ADDRESS", refusing))
    with pytest.raises(StoreError, match=r"^the MLflow store .+ cannot be used: .+$") as caught:
        connect("classifier")
    assert not any(secret in str(caught.value) for secret in (SECRET, "me:", "se@"))
    assert len(str(caught.value)) < 300
    assert SECRET not in "".join(capfd.readouterr())
    assert holders(prepared) == []


@pytest.mark.slow
def test_a_remote_that_refuses_is_one_line_without_what_it_was_entered_with(
    clone: Path, refusing: str, capfd: pytest.CaptureFixture
) -> None:
    for lost in ("cache/files", "../data/models"):
        shutil.rmtree(clone / ".dvc" / lost)
    config = clone / ".dvc/config.local"
    url = f"http://me:{SECRET}@{refusing}/pets"
    config.write_text(f"[core]\n  remote = away\n['remote \"away\"']\n  url = {url}\n")
    with pytest.raises(InputError, match="2 of 2 trainings could not be written"):
        sync([])
    said = capfd.readouterr()
    assert said.err.count("is neither in DVC's cache nor in a remote: ") == 2
    assert SECRET not in said.out + said.err
    assert holders(clone) == [config]
