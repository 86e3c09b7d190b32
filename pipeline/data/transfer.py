"""Archives by name and SHA-256: from a folder or a server into .downloads/, continued after a break, verified.

DVC deletes the outputs of a stage before it runs it again, and .downloads/ is none: what was verified stays.
"""

import hashlib
import os
import shutil
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from pipeline.data import official
from pipeline.errors import InputError, one_line, without_secrets, writing
from pipeline.paths import root

TIMEOUT = (10, 60)  # seconds: to connect, to wait for the next bytes
CHUNK = 1 << 16  # bytes; an error loses the chunk it falls into
WAY_OUT = (
    "run again, set PETS_SOURCE=<folder or URL with the archives>, such as "
    "https://thor.robots.ox.ac.uk/~vgg/data/pets/, or run `make demo` (embedded pets, no network)"
)


def fetch(name: str, sha256: str) -> Path:
    """Return the verified archive in .downloads/, transferred only if it is not there or is damaged.

    DVC's cache may share the file: it is replaced, never written to.
    Raises InputError if the place did not give the archive, or for a full disk.
    """
    folder = root() / ".downloads"
    archive = folder / f"{sha256[:12]}-{name}"  # the checksum in its name: bytes of other data are never continued
    part = archive.with_name(f"{archive.name}.part")
    with writing(folder):
        folder.mkdir(exist_ok=True)
        with FileLock(folder / ".lock"):  # experiments in temporary folders share it
            if _sha256(archive) != sha256:
                if _sha256(part) != sha256:
                    _transfer(name, part, sha256)
                part.replace(archive)
    return archive


def _transfer(name: str, part: Path, sha256: str) -> None:
    place = os.environ.get("PETS_SOURCE") or official.PLACE
    try:
        if "://" in place:
            _download(f"{place.removesuffix('/')}/{name}", part)
        else:
            shutil.copyfile(root() / os.path.expanduser(place) / name, part)  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    except (requests.RequestException, urllib3.exceptions.HTTPError, FileNotFoundError) as error:
        kept = f"; {_size(part):,} bytes are kept for the next run" if _size(part) else ""
        raise InputError(f"{name}: {place}: {_cause(error)}{kept}; {WAY_OUT}") from None
    size, found = _size(part), _sha256(part)
    if found != sha256:
        part.unlink()  # whatever is wrong with it, the next run begins anew
        wrong = f"wrong bytes: found {size:,} bytes with sha256 {found}, params.yaml wants {sha256}"
        raise InputError(f"{name}: {place}: {wrong}; {WAY_OUT}")
    print(without_secrets(f"{name}: {size:,} bytes from {place}"), flush=True)


def _download(url: str, part: Path) -> None:
    """Append to the .part what it lacks, or write it afresh where the server ignores Range."""
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={_size(part)}-"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing from there on: the checksum tells whether the .part is the whole
            return
        response.raise_for_status()
        start = _size(part) if response.status_code == 206 else 0
        rest = response.raw.length_remaining  # bytes, None if not told
        bar = {"desc": part.name, "initial": start, "total": rest and start + rest, "leave": False}
        with (
            part.open("ab" if start else "wb") as file,
            tqdm.wrapattr(file, "write", **bar, disable=None) as sink,  # None: shown on a terminal only
        ):
            shutil.copyfileobj(response.raw, sink, CHUNK)  # raw bytes: what is gzip stays gzip


def _cause(error: BaseException) -> str:
    """Return the bottom of the chain: what requests and urllib3 put around it is long and shows object addresses."""
    if isinstance(error, requests.exceptions.InvalidURL):
        return "this URL, or the proxy's, is not valid"  # its text may hold a piece of a password
    while error.__context__:
        error = error.__context__
    return one_line(error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
