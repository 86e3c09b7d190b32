"""Run every command of README.md, in order, in this clone; check every link. Ends at the first that fails."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

README = Path("README.md").read_text(encoding="utf-8")


def shell(command: str) -> None:
    print(f"\n$ {command}", flush=True)
    subprocess.run(["bash", "-euc", f"PATH=$PWD/.venv/bin:$PATH; {command}"], check=True)


def show_ui(command: str) -> None:
    """A server never ends: it is enough that it answers."""
    print(f"\n$ {command}", flush=True)
    server = subprocess.Popen(["bash", "-c", command], start_new_session=True)
    try:
        for _ in range(60):
            time.sleep(1)
            try:
                print(urllib.request.urlopen("http://127.0.0.1:5000/health", timeout=5).read().decode())
                return
            except OSError:
                continue
        sys.exit(f"{command}: no answer within a minute")
    finally:
        os.killpg(server.pid, signal.SIGTERM)


def repro(command: str) -> None:
    """The official archives are not for CI: the demo's parameters instead, all of whose stages the run cache has."""
    shell("dvc exp apply demo")
    shell(command)


def dry(command: str) -> None:
    """Gigabytes for a GPU that CI lacks: find out only that they can be had."""
    shell(command.replace("pip install", "pip install --dry-run --quiet"))


def done_before(command: str) -> None:
    """.ci/run has run these already, on the untouched clone."""


def check_links() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http") and not Path(target.partition("#")[0] or "README.md").exists():
            sys.exit(f"README.md links to {target}, which does not exist")


check_links()
SPECIAL = {"make ui": show_ui, "make repro": repro, ".venv/bin/pip install": dry}
SPECIAL |= {"make test": done_before, "make lint": done_before}
for block in re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
    for line in block.replace("\\\n", " ").splitlines():
        command = line.partition("  #")[0].strip()
        run = next((special for start, special in SPECIAL.items() if command.startswith(start)), shell)
        run(command)
print("\nREADME.md: every command ran")
