"""The application of the integration tests: each path exercises one feature.

The server under test loads it, never the tests. A path that waits does so for a file in its
directory, so that a test decides when it continues, in whichever worker.
"""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from wsgiref.validate import validator

HERE = Path(__file__).resolve().parent
PIECE = bytes(range(256)) * 256  # 64 KiB
TIMEOUT = 30.0  # seconds; a failed test must not leave a request running


def say(start_response, body, *headers, status="200 OK"):
    """Respond with a body of known length."""
    body = body if isinstance(body, bytes) else str(body).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))),
                            *headers])
    return [body]


def number(environ, default=0):
    """Return the query string as a number."""
    return int(environ.get("QUERY_STRING") or default)


def wait_for(name):
    """Wait until the test creates the file `name`."""
    end = time.monotonic() + TIMEOUT
    while not (HERE / name).exists():
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.01)


def who(environ, start_response):
    """The pid, uid and gid of the worker."""
    return say(start_response, "%d %d %d" % (os.getpid(), os.getuid(), os.getgid()))


def variables(environ, start_response):
    """The environ as JSON; values other than text with their types."""
    seen = {name: value if isinstance(value, str) else f"<{type(value).__name__}> {value!r}"
            for name, value in environ.items()}
    return say(start_response, json.dumps(seen))


def digest(environ, start_response):
    """Length and SHA-256 of the body, read in pieces."""
    total, seen = 0, hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        total += len(piece)
        seen.update(piece)
    return say(start_response, f"{total} {seen.hexdigest()}")


def ignore(environ, start_response):
    """Respond without reading the body."""
    return say(start_response, "ignored")


def cookies(environ, start_response):
    """Repeated response fields."""
    return say(start_response, "cookies", ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"),
               ("X-Many", "one"), ("X-Many", "two"), ("X-Latin", "caf\xe9"))


def unchanged(environ, start_response):
    """304 if the request has the entity tag."""
    if environ.get("HTTP_IF_NONE_MATCH") == '"tag"':
        start_response("304 Not Modified", [("ETag", '"tag"')])
        return []
    return say(start_response, "changed", ("ETag", '"tag"'))


def status(environ, start_response):
    """The status in the query string."""
    return say(start_response, "as asked", status=f"{number(environ)} As Asked")


def fail(environ, start_response):
    """An exception before the head."""
    raise ValueError("broken as asked")


def break_off(environ, start_response):
    """An exception in the middle of a body, with Content-Length, or with a query without it."""
    length = [] if environ["QUERY_STRING"] else [("Content-Length", "1000000")]
    start_response("200 OK", [("Content-Type", "text/plain"), *length])
    yield b"x" * 500000
    raise ValueError("broken off as asked")


def large(environ, start_response):
    """As many MiB as requested, with Content-Length."""
    count = number(environ, 1)
    start_response("200 OK", [("Content-Type", "application/octet-stream"),
                              ("Content-Length", str(count << 20))])
    return (PIECE for _ in range(count << 4))


def pieces(environ, start_response):
    """As many pieces as requested, without Content-Length."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"piece %d\n" % index for index in range(number(environ, 3)))


def file(environ, start_response):
    """The file `download` by wsgi.file_wrapper."""
    download = open(HERE / "download", "rb")
    start_response("200 OK", [("Content-Type", "application/octet-stream"),
                              ("Content-Length", str(os.fstat(download.fileno()).st_size))])
    return environ["wsgi.file_wrapper"](download)


def events(environ, start_response):
    """Server-sent events: the second when the file named by the query string exists."""
    start_response("200 OK", [("Content-Type", "text/event-stream"),
                              ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")])
    yield b"data: first\n\n"
    wait_for(environ["QUERY_STRING"])
    yield b"data: second\n\n"


class Endless:
    """A body without end, which creates a file when it is closed."""

    def __init__(self, name):
        self.name = name

    def __iter__(self):
        return self

    def __next__(self):
        return PIECE

    def close(self):
        (HERE / self.name).touch()


def endless(environ, start_response):
    """A body without end; the query string names the file that its close creates."""
    start_response("200 OK", [("Content-Type", "application/octet-stream"),
                              ("X-Accel-Buffering", "no")])
    return Endless(environ["QUERY_STRING"])


def wait(environ, start_response):
    """Create `<query>.begun-<pid>-...`; respond with the pid when `<query>` exists."""
    name = environ["QUERY_STRING"]
    (HERE / f"{name}.begun-{os.getpid()}-{id(environ)}").touch()
    wait_for(name)
    return say(start_response, os.getpid())


def orphan(environ, start_response):
    """Create a process whose parent ends before it; respond with its pid."""
    script = (f"cd {HERE}; (while [ ! -e {environ['QUERY_STRING']} ]; do sleep 0.05; done; exit 3) "
              ">/dev/null 2>&1 & echo $!")
    return say(start_response, subprocess.run(["sh", "-c", script], capture_output=True,
                                              check=True).stdout.strip())


ROUTES = {f"/{function.__name__}": function for function in (
    who, variables, digest, ignore, cookies, unchanged, status, fail, break_off, large, pieces,
    file, events, endless, wait, orphan)}


def application(environ, start_response):
    """Dispatch by path. HEAD runs the same function as GET, body included."""
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        return say(start_response, "no such path", status="404 Not Found")
    return route(environ, start_response)


def validated(environ, start_response):
    """The same under wsgiref's validator.

    nginx's uwsgi_pass sends Content-Type and Content-Length as HTTP_* too. Like uWSGI, the
    server passes every variable as it was sent; PEP 3333 allows it, the validator does not.
    """
    for name in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
        environ.pop(name, None)
    return validator(application)(environ, start_response)
