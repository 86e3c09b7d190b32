"""Run every command of README.md, in order, in this clone; check every link. Ends at the first that fails."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

README = Path("README.md").read_text(encoding="utf-8")


def shell(command: str) -> None:
    print(f"\n$ {command}", flush=True)
    start = time.monotonic()
    subprocess.run(["bash", "-euc", f"PATH=$PWD/.venv/bin:$PATH; {command}"], check=True)
    print(f"[{time.monotonic() - start:.1f} s]")


def serve(command: str) -> None:
    """A server never ends: it is enough that it answers. It stays until the last command has run."""
    print(f"\n$ {command}", flush=True)
    port = (re.findall(r"--port (\d+)", command) or ["5000"])[0]
    SERVERS.append(subprocess.Popen(["bash", "-c", f"PATH=$PWD/.venv/bin:$PATH; {command}"], start_new_session=True))
    for _ in range(120):
        time.sleep(1)
        try:
            print(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read().decode())
            return
        except OSError:
            continue
    sys.exit(f"{command}: no answer within two minutes")


def repro(command: str) -> None:
    """The official archives are not for CI: the demo's parameters instead, all of whose stages the run cache has."""
    shell("dvc exp apply demo")
    shell("git add params.yaml")  # for the commit that follows: dvc.lock belongs to these
    shell(command)
    shutil.copy("demo/demo/classifier/samples.png", "pet.jpg")  # a picture, whatever its name: the user has one


def done_before(command: str) -> None:
    """.ci/run has run these already, on the untouched clone."""


def edit(command: str) -> None:
    """The user's editor, by a script."""
    shell(f"EDITOR='sed -i /^train_classifier/,/^plot/s/0.001/0.003/'; {command}")
    shell("git diff --exit-code --stat params.yaml && exit 1 || true")


def check_links() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http") and not Path(target.partition("#")[0] or "README.md").exists():
            sys.exit(f"README.md links to {target}, which does not exist")


SERVERS: list[subprocess.Popen] = []
SPECIAL = {"make ui": serve, "mlflow models serve": serve, "make repro": repro}
SPECIAL |= {"make lint test": done_before, "$EDITOR": edit}
check_links()
shell("git clone --quiet --bare . ../origin.git && git remote set-url origin ../origin.git")  # for what is pushed
try:
    for block in re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition("  #")[0].strip()
            run = next((special for start, special in SPECIAL.items() if command.startswith(start)), shell)
            run(command)
finally:
    for server in SERVERS:
        os.killpg(server.pid, signal.SIGTERM)
print("\nREADME.md: every command ran")
