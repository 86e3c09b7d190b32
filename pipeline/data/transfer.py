"""Archives by name and SHA-256: from a folder or a server into .downloads/, continued after a break, verified.

DVC deletes the outputs of a stage before it runs it again, and .downloads/ is none: what was verified stays.
"""

import hashlib
import os
import shutil
import time
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
WAY_OUT = "set PETS_SOURCE=<folder or URL with the archives> or run `make demo` (embedded pets, no network)"


class PlaceError(Exception):
    """Why one place did not give an archive. Another place may."""


def fetch(name: str, sha256: str) -> Path:
    """Return the verified archive in .downloads/, transferred only if it is not there or is damaged.

    DVC's cache may share the file: it is replaced, never written to.
    Raises InputError with a reason for each place if none gave the archive, or for a full disk.
    """
    folder = root() / ".downloads"
    archive = folder / f"{sha256[:12]}-{name}"  # the checksum in its name: bytes of other data are never continued
    part = archive.with_name(f"{archive.name}.part")
    with writing(folder):
        folder.mkdir(exist_ok=True)
        with FileLock(folder / ".lock"):  # experiments in temporary folders share it
            if _sha256(archive) != sha256:
                if _sha256(part) != sha256:
                    _fetch_from_places(name, part, sha256)
                part.replace(archive)
    return archive


def _fetch_from_places(name: str, part: Path, sha256: str) -> None:
    errors = []
    for place in _places():
        started = time.monotonic()
        try:
            _fetch_from(place, name, part, sha256)
        except PlaceError as error:
            errors.append(f"{place}: {error}")
            continue
        size = tqdm.format_sizeof(_size(part), "B")
        print(without_secrets(f"{name}: {size} from {place} in {time.monotonic() - started:.1f} s"), flush=True)
        return
    raise InputError(f"{name}: {'; '.join(errors)}; {WAY_OUT}")


def _places() -> list[str | Path]:
    source = os.environ.get("PETS_SOURCE")
    if not source:
        return list(official.PLACES)
    scheme, is_url, _ = source.partition("://")
    if not is_url:
        return [root() / os.path.expanduser(source)]  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if scheme.lower() in ("http", "https"):
        return [source.removesuffix("/") + "/"]
    raise InputError(f"PETS_SOURCE={source}: {scheme}:// is not supported, https:// is; {WAY_OUT}")


def _fetch_from(place: str | Path, name: str, part: Path, sha256: str) -> None:
    continued = isinstance(place, str) and _size(part) > 0
    if isinstance(place, Path):
        _copy(place, name, part)
    else:
        _download(place + name, name, part)
    found, size = _sha256(part), _size(part)
    if found == sha256:
        return
    part.unlink()
    if not continued:
        raise PlaceError(f"wrong bytes: found {size:,} bytes with sha256 {found}, params.yaml wants {sha256}")
    _fetch_from(place, name, part, sha256)  # the old bytes may have been the wrong ones; none are left now


def _copy(folder: Path, name: str, part: Path) -> None:
    if not folder.is_dir():
        raise PlaceError("no such folder")
    if not (folder / name).is_file():
        raise PlaceError(f"no file {name} in this folder")
    shutil.copyfile(folder / name, part)


def _download(url: str, name: str, part: Path) -> None:
    """Append to the .part what it lacks, or write it afresh where the server ignores Range."""
    offset = _size(part)
    with _get(url, offset) as response:
        if response.status_code == 416:  # nothing from there on: the checksum tells whether the .part is the whole
            return
        if response.status_code not in (200, 206):
            raise PlaceError(f"HTTP {response.status_code} {response.reason}")
        start = offset if response.status_code == 206 else 0
        length = response.raw.length_remaining  # bytes, None if not told
        try:
            _write(response.raw, name, part, start, length and start + length)
        except urllib3.exceptions.HTTPError as error:
            of = f" of {start + length:,}" if length else ""
            kept = f"broke off, {_size(part):,}{of} bytes are kept for the next run"
            raise PlaceError(f"{kept} ({_cause(error)})") from None


def _get(url: str, offset: int) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.exceptions.InvalidURL:  # its text may hold a piece of a password
        raise PlaceError("this URL, or the proxy's, is not valid") from None
    except requests.RequestException as error:
        raise PlaceError(f"no answer ({_cause(error)})") from None


def _write(source: urllib3.BaseHTTPResponse, name: str, part: Path, start: int, total: int | None) -> None:
    head = source.read(CHUNK)
    if start == 0 and head.lstrip().startswith(b"<"):  # seen before the .part is touched
        raise PlaceError("a web page instead of an archive")
    free, needed = shutil.disk_usage(part.parent).free, (total or start) - _size(part)
    if needed > free:
        sizes = f"{tqdm.format_sizeof(free, 'B')} free, {tqdm.format_sizeof(needed, 'B')} needed"
        raise InputError(f"{part}: disk full: {sizes}; make room and run again, or run `make demo` (a few MB)")
    bar = {"desc": name, "total": total, "initial": start, "bytes": False, "unit": "B", "unit_scale": True}
    bar |= {"leave": False, "disable": None}  # None: shown on a terminal only
    with part.open("ab" if start else "wb") as file, tqdm.wrapattr(file, "write", **bar) as sink:
        sink.write(head)
        shutil.copyfileobj(source, sink, CHUNK)  # raw bytes: what is gzip stays gzip


def _cause(error: BaseException) -> str:
    """Return the bottom of the chain: what requests and urllib3 put around it is long and shows object addresses."""
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
