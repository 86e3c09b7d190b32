"""Programs from outside that slow tests need.

python -m tests.helpers.programs

Exits with 1, and one line that says how to install them, where some are missing.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

# the Debian package of each
PACKAGES = {"chromium": "chromium", "faketime": "faketime", "sshd": "openssh-server", "initdb": "postgresql"}


def find(name: str) -> str | None:
    """Return the path of a program, also where Debian keeps it outside PATH; None if there is none."""
    system = ["/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *system]))


def program(name: str, package: str) -> str:
    """Return the path of a program. Without it the test fails with the line that installs it."""
    return find(name) or pytest.fail(f"needs {name}: apt-get install {package}", pytrace=False)


def missing() -> str:
    """Return one line that names the missing programs and the command that installs them, "" if there are all."""
    names = [name for name in PACKAGES if find(name) is None]
    packages = " ".join(PACKAGES[name] for name in names)
    return f"make test-all needs {', '.join(names)}: apt-get install {packages}" if names else ""


if __name__ == "__main__":
    sys.exit(missing() or None)
