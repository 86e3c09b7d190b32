"""Folders that are full or read-only: file systems of their own. Mounting one takes root; other users skip the test."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """Within: a folder, empty at first, is a disk of so many KiB."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={kib}k", "none"):
        yield


def make_room(folder: Path) -> None:
    """Give a small disk 64 MiB."""
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within: a folder, with what is in it, is on a disk that cannot be written to."""
    with _mounted(folder, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield


@contextmanager
def _mounted(folder: Path, *arguments: str | Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["mount", *arguments, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a file system of its own, and mounting one is not permitted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # MLflow keeps its database open
