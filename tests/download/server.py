"""Two archives, a server that gives them out well or badly, and what the stage made of them."""

import contextlib
import functools
import hashlib
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.download import download
from pipeline.errors import InputError

HALF = 150_000  # bytes; the second half starts like a web page, which it is not
IMAGES = b"\x1f\x8b" + random.Random(1).randbytes(HALF - 2) + b"<" + random.Random(2).randbytes(HALF - 1)
ARCHIVES = {"annotations.tar.gz": b"\x1f\x8b" + random.Random(3).randbytes(1_000), "images.tar.gz": IMAGES}
CHECKSUMS = {name.replace(".tar.gz", "_sha256"): hashlib.sha256(data).hexdigest() for name, data in ARCHIVES.items()}
VERIFIED = Path(".downloads", f"{CHECKSUMS['images_sha256'][:12]}-images.tar.gz")
PART = VERIFIED.with_name(f"{VERIFIED.name}.part")
PAGE = b"\n<!DOCTYPE html><html><body>Please log in to this network</body></html>"
WAY_OUT = ("set PETS_SOURCE=<folder or URL", "`make demo`")


class Server(ThreadingHTTPServer):
    """Answers each request for images.tar.gz as told, for annotations.tar.gz always well; keeps (name, Range)."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)  # the last one stays
        self.requests = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def asked(self):
        """The Range header of each request for the images."""
        return [asked for name, asked in self.requests if name == "images.tar.gz"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, server = self.path.rsplit("/", 1)[1], self.server
        server.requests.append((name, self.headers["Range"]))
        answer = ranges
        if name == "images.tar.gz":
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self, ARCHIVES[name])

    def reply(self, status, body, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if length != "untold":
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def ranges(handler, data, share=1):
    """A good server: 206 for a Range, 416 past the end. It sends a share of what it promises."""
    offset = int((handler.headers["Range"] or "bytes=0-")[6:-1])
    rest = data[offset:]
    body = rest[: int(len(rest) * share)]
    if not rest:
        handler.reply(416, b"", Content_Range=f"bytes */{len(data)}")
    elif offset:
        handler.reply(206, body, length=len(rest), Content_Range=f"bytes {offset}-{len(data) - 1}/{len(data)}")
    else:
        handler.reply(200, body, length=len(rest))


breaks_off = functools.partial(ranges, share=0.5)


def ignores_range(handler, data):
    handler.reply(200, data)


def untold_length(handler, data):
    handler.reply(200, data, length="untold")


def marked_as_gzip(handler, data):
    """As Apache does with `AddEncoding x-gzip .gz`: a client that believes it would unpack the archive."""
    handler.reply(200, data, Content_Encoding="gzip")


def stalls(handler, data):
    breaks_off(handler, data)
    handler.server.released.wait(10)


def silent(handler, data):
    handler.server.released.wait(10)


def other_bytes(handler, data):
    handler.reply(200, data[::-1])


def page(handler, data):
    handler.reply(200, PAGE, Content_Type="text/html")


def status(code):
    return lambda handler, data: handler.reply(code, PAGE)


def final():
    return {path.name: path.read_bytes() for path in Path("data/raw").glob("*")}


def failure(*expected):
    """The one line the stage ends with; data/raw is not made then."""
    with pytest.raises(InputError) as caught:
        download()
    line = str(caught.value)
    assert "\n" not in line
    for text in expected:
        assert text in line
    assert final() == {}
    return line


def wait_for_bytes():
    deadline = time.monotonic() + 10
    while not PART.exists() or PART.stat().st_size == 0:
        assert time.monotonic() < deadline, "no bytes have come"
        time.sleep(0.01)
