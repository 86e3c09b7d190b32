"""Run the commands of README.md and docs/ in this clone; check that their links lead somewhere.

    python3 .ci/readme.py

Reads   README.md, then docs/*.md in the order of README.md's last link to each: its list of pages
Runs    each line of their blocks fenced as ```bash. Commands that need a GPU, GitHub or a server of one's own
        are fenced as ```console or ```text: they are not run
Checks  that each relative link of these, CONTRIBUTING.md and data/README.md names a file
Exits   with 1 at the first command or link that fails
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
SERVES = ("make ui", "mlflow models serve")  # these never end
SERVERS: list[subprocess.Popen] = []


def links(document: Path) -> list[str]:
    """Return the relative links of a document, without what is in blocks of code."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = (markdown or html for markdown, html in LINK.findall(text))
    return [link.partition("#")[0] for link in found if not re.match(r"\w+:|#", link)]


def documents() -> list[Path]:
    """Return README.md and the pages of docs/, in order. Exits for a page that README.md does not link to."""
    found = [link for link in links(Path("README.md")) if re.fullmatch(r"docs/[^/]+\.md", link)]
    linked = [*dict.fromkeys(reversed(found))][::-1]
    if alone := {path.as_posix() for path in Path("docs").glob("*.md")} - {*linked}:
        sys.exit(f"README.md has no link to {', '.join(sorted(alone))}")
    return [Path("README.md"), *map(Path, linked)]


def check_links(document: Path) -> None:
    """Exit for a link to a file that does not exist."""
    for link in links(document):
        if not (document.parent / link).exists():
            sys.exit(f"{document} links to {link}, which does not exist")


def commands(document: Path) -> list[str]:
    """Return the commands of the blocks of bash, one a line; a line that ends in a backslash goes on."""
    blocks = re.findall(r"^```bash\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def shell(command: str) -> None:
    """Run a command with the programs of .venv first. Raises CalledProcessError if it fails."""
    print(f"\n$ {command}", flush=True)
    start = time.monotonic()
    subprocess.run(["bash", "-euc", f"PATH=$PWD/.venv/bin:$PATH; {command}"], check=True)
    print(f"[{time.monotonic() - start:.1f} s]")


def serve(command: str) -> None:
    """Start a server, and wait until it answers. It stays until the last command has run."""
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


def main() -> None:
    """Check the links, then run the commands."""
    pages = documents()
    for document in [*pages, Path("CONTRIBUTING.md"), *Path("data").glob("README.md")]:
        check_links(document)
    shell("git clone --quiet --bare . ../origin.git && git remote set-url origin ../origin.git")  # for what is pushed
    try:
        for command in [command for document in pages for command in commands(document)]:
            serve(command) if command.startswith(SERVES) else shell(command)
    finally:
        for server in SERVERS:
            os.killpg(server.pid, signal.SIGTERM)
    print(f"\nEvery command ran: {', '.join(map(str, pages))}")


if __name__ == "__main__":
    main()
