"""Bad input, and what is in a program's way, as one clear line."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAYS_OUT = {
    errno.ENOSPC: "make room and run again, nothing is lost",
    errno.EDQUOT: "make room and run again, nothing is lost",
    errno.EACCES: "give this user access and run again",
    errno.EPERM: "give this user access and run again",
    errno.EROFS: "make it writable and run again",
}


class InputError(Exception):
    """Bad input. The message is one line: the file or the key, what was found, what is allowed or how to go on.

    It never holds a password or token of an address in it.
    """

    def __init__(self, line: str):
        super().__init__(printable(without_secrets(line)))


def without_secrets(line: str) -> str:
    """Remove names and passwords from the addresses in a line, such as http://me:secret@host and me:secret@host."""
    line = re.sub(r"\S+", lambda word: _without_login(word[0]), line)
    return re.sub(r"(?i)((?:password|passwd|token|secret|api_?key|access_?key)=)[^&\s]*", r"\1***", line)


def _without_login(word: str) -> str:
    login, _, place = word.rpartition("@")
    scheme, separator, _ = login.rpartition("://")
    return scheme + separator + place if ":" in login else word


def printable(text: str) -> str:
    """Escape what acts on a terminal, breaks the line or is no text: the name of a file may hold any of it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def one_line(error: Exception) -> str:
    """Return the message of an error without its line breaks, or its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def refusal(error: OSError, place: Path) -> InputError:
    """Return what the system refused, with the file, or this place, and the way out where there is one."""
    line = f"{error.filename or place}: {error.strerror or one_line(error)}"  # a write to a full disk names no file
    return InputError("; ".join(filter(None, (line, WAYS_OUT.get(error.errno)))))


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the system refuses into an InputError that names the file, or this place."""
    try:
        yield
    except OSError as error:
        raise refusal(error, place) from None
