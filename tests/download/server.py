"""Two archives, and a server that gives them out well or badly."""

import contextlib
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HALF = 150_000  # bytes
IMAGES = b"\x1f\x8b" + random.Random(1).randbytes(2 * HALF - 2)
ARCHIVES = {"annotations.tar.gz": b"\x1f\x8b" + random.Random(3).randbytes(1_000), "images.tar.gz": IMAGES}


class Server(ThreadingHTTPServer):
    """Answers each request for images.tar.gz as told, for annotations.tar.gz always well."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)  # the last one stays
        self.asked = []  # the Range header of each request for the images
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name, server = self.path.rsplit("/", 1)[1], self.server
        answer = ranges
        if name == "images.tar.gz":
            server.asked.append(self.headers["Range"])
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
    offset = int(handler.headers["Range"][len("bytes=") : -1])
    rest = data[offset:]
    if not rest:
        handler.reply(416, b"", Content_Range=f"bytes */{len(data)}")
    else:
        place = f"bytes {offset}-{len(data) - 1}/{len(data)}"
        handler.reply(206, rest[: int(len(rest) * share)], length=len(rest), Content_Range=place)


def breaks_off(handler, data):
    ranges(handler, data, share=0.5)


def stalls(handler, data):
    breaks_off(handler, data)
    time.sleep(10)


def silent(handler, data):
    time.sleep(10)


def whole(change=bytes, status=200, **headers):
    """An answer that ignores Range."""
    return lambda handler, data: handler.reply(status, change(data), **headers)


untold_length = whole(length="untold")
marked_as_gzip = whole(Content_Encoding="gzip")  # as Apache may do: a client that believes it would unpack the archive
other_bytes = whole(lambda data: data[::-1])
forbidden = whole(status=403)
