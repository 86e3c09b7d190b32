"""Stage download: the two archives of Oxford-IIIT Pets as published, checked by SHA-256, or the embedded pets.

    python -m pipeline.download
    PETS_SOURCE=/mnt/pets python -m pipeline.download    # a folder or an http(s) URL that holds the two archives

Reads:  params.yaml (download), the environment (PETS_SOURCE), the network or a folder
Writes: data/raw/images.tar.gz, data/raw/annotations.tar.gz
Keeps:  data/raw/*.part, what an unfinished transfer has got; the next run asks only for the rest
"""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import requests
import urllib3
from tqdm import tqdm

from pipeline.data import embedded
from pipeline.errors import InputError, without_secrets, writing
from pipeline.params import load_params
from pipeline.paths import RAW, root
from pipeline.stage import run

OFFICIAL_PLACES = ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/", "https://thor.robots.ox.ac.uk/~vgg/data/pets/")
TIMEOUT = (10, 60)  # seconds: to connect, to wait for the next bytes
CHUNK = 1 << 16  # bytes; an error loses the chunk it falls into
WAY_OUT = "set PETS_SOURCE=<folder or URL with the archives> or run `make demo` (embedded pets, no network)"


class PlaceError(Exception):
    """Why one place did not give an archive. Another place may."""


@writing(RAW)
def download() -> None:
    """Fetch or draw both archives into data/raw. Raises InputError with one line for whatever is in the way."""
    params = load_params().download
    RAW.mkdir(parents=True, exist_ok=True)
    if params.dataset == "embedded":
        _draw()
    else:
        # The small one first: what is wrong with a place shows at once.
        _fetch_all({"annotations.tar.gz": params.annotations_sha256, "images.tar.gz": params.images_sha256})


def _draw() -> None:
    draft = RAW / "draft"
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    draft.mkdir()
    try:
        embedded.draw(draft)
        for archive in draft.iterdir():
            archive.replace(RAW / archive.name)
    finally:
        shutil.rmtree(draft)


def _fetch_all(checksums: dict[str, str]) -> None:
    # No archive gets its name before all are there: DVC deletes a failed stage's outputs, a finished .part is spared.
    parts = {name: _fetch(name, sha256) for name, sha256 in checksums.items()}
    for name, part in parts.items():
        part.replace(RAW / name)


def _fetch(name: str, sha256: str) -> Path:
    """The archive as a checked .part file, from the first place that has it."""
    part = RAW / f"{name}.{sha256[:12]}.part"  # the checksum in its name: bytes of other data are never continued
    if _size(part) and _sha256(part) == sha256:
        return part
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
        return part
    raise InputError(f"{name}: {'; '.join(errors)}; {WAY_OUT}")


def _places() -> list[str | Path]:
    source = os.environ.get("PETS_SOURCE")
    if not source:
        return list(OFFICIAL_PLACES)
    scheme, is_url, _ = source.partition("://")
    if not is_url:
        return [root() / os.path.expanduser(source)]  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if scheme.lower() in ("http", "https"):
        return [source.removesuffix("/") + "/"]
    raise InputError(f"PETS_SOURCE={source}: {scheme}:// is not supported, https:// is; {WAY_OUT}")


def _fetch_from(place: str | Path, name: str, part: Path, sha256: str) -> None:
    resumed = _size(part) > 0
    _transfer(place, name, part)
    found, size = _sha256(part), _size(part)
    if found == sha256:
        return
    part.unlink()
    if not resumed:
        raise PlaceError(f"wrong bytes: found {size:,} bytes with sha256 {found}, params.yaml wants {sha256}")
    _fetch_from(place, name, part, sha256)  # the old bytes may have been the wrong ones; none are left now


def _transfer(place: str | Path, name: str, part: Path) -> None:
    """Append to the .part what it lacks, or write it afresh where the place can only send the whole."""
    offset = _size(part)
    opened = _open_file(place / name) if isinstance(place, Path) else _open_url(place + name, offset)
    with opened as (source, start, total):
        try:
            head = source.read(CHUNK)
            if start == 0 and head.lstrip().startswith(b"<"):  # seen before the .part is touched
                raise PlaceError("a web page instead of an archive")
            _check_room(part, (total or offset) - offset)
            bar = {"desc": name, "total": total, "initial": start, "bytes": False, "unit": "B", "unit_scale": True}
            bar |= {"leave": False, "disable": None}  # None: shown on a terminal only
            with part.open("ab" if start else "wb") as file, tqdm.wrapattr(file, "write", **bar) as sink:
                sink.write(head)
                shutil.copyfileobj(source, sink, CHUNK)
        except urllib3.exceptions.HTTPError as error:
            of = f" of {total:,}" if total else ""
            kept = f"broke off, {_size(part):,}{of} bytes are kept for the next run"
            raise PlaceError(f"{kept} ({_cause(error)})") from None


@contextmanager
def _open_file(path: Path) -> Iterator[tuple[BinaryIO, int, int | None]]:
    """Yields what to read, the offset it starts at and the size of the whole, both in bytes."""
    if not path.parent.is_dir():
        raise PlaceError("no such folder")
    if not path.is_file():
        raise PlaceError(f"no file {path.name} in this folder")
    try:
        file = path.open("rb")
    except OSError as error:
        raise PlaceError(f"{path.name}: {error.strerror}") from None
    with file:
        yield file, 0, path.stat().st_size


@contextmanager
def _open_url(url: str, offset: int) -> Iterator[tuple[BinaryIO, int, int | None]]:
    """The same from an offset, or from 0 where the server ignores Range; the size is None where it does not tell."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.exceptions.InvalidURL:  # its text may hold a piece of a password
        raise PlaceError("this URL, or the proxy's, is not valid") from None
    except requests.RequestException as error:
        raise PlaceError(f"no answer ({_cause(error)})") from None
    with response:
        if response.status_code == 416:  # nothing from there on: the checksum tells whether the .part is the whole
            yield io.BytesIO(), offset, None
        elif response.status_code in (200, 206):
            start = offset if response.status_code == 206 else 0
            length = response.raw.length_remaining  # bytes, None if not told
            yield response.raw, start, length and start + length  # raw: what is gzip stays gzip
        else:
            raise PlaceError(f"HTTP {response.status_code} {response.reason}")


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        sizes = f"{tqdm.format_sizeof(free, 'B')} free, {tqdm.format_sizeof(needed, 'B')} needed"
        raise InputError(f"{part}: disk full: {sizes}; make room and run again, or run `make demo` (a few MB)")


def _cause(error: BaseException) -> str:
    """The bottom of the chain: what requests and urllib3 put around it is long and shows object addresses."""
    while error.__context__:
        error = error.__context__
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    run(download)
