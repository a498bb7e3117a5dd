"""The application of test_native_threads_chaos.py: requests that compute, sleep, ignore what ends
them, or move many octets. `/NAME?VALUE` calls the function of that name."""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIECE = bytes(range(256)) * 1024  # 256 KiB
TIMEOUT = 30.0  # seconds; a failed test must not leave a request running


def note(name, text=""):
    """Write a file for the test, complete from the beginning."""
    path = HERE / f"{name}.new"
    path.write_text(str(text))
    path.replace(HERE / name)


def wait(name):
    """Wait until the test creates the file `name`."""
    note(f"{name}.begun", os.getpid())
    end = time.monotonic() + TIMEOUT
    while not (HERE / name).exists():
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.01)
    return name


def compute(seconds):
    """Keep the processor busy in Python code."""
    note("compute.begun", os.getpid())
    end = time.monotonic() + float(seconds)
    try:
        while time.monotonic() < end:
            sum(range(1000))
    except BaseException as error:
        note("compute.ended", type(error).__name__)
        raise
    return "computed"


def sleep(seconds):
    """One call that blocks."""
    note("sleep.begun", threading.current_thread() is threading.main_thread())
    try:
        time.sleep(float(seconds))
    except BaseException as error:
        note("sleep.ended", type(error).__name__)
        raise
    return "slept"


def stuck(_):
    """Never return from C code: a thread that locks its mutex twice waits for ever."""
    note("stuck.begun", os.getpid())
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    while True:
        library.pthread_mutex_lock(mutex)


def fork(how):
    """Fork a child that leaves as a script would, and does not end by os._exit."""
    child = os.fork()
    if child == 0:
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise RuntimeError("in the child")
        return "child"
    note("fork.child", child)
    return "parent"


def upload(environ):
    """Count the octets of the body."""
    count = 0
    while piece := environ["wsgi.input"].read(65536):
        count += len(piece)
    return str(count)


def pieces(count):
    for _ in range(int(count)):
        yield PIECE


def held(name):
    """A response whose head is sent long before its end."""
    yield b"a"
    wait(name)
    yield b"b"


def application(environ, start_response):
    """Respond as the path says."""
    name, value = environ["PATH_INFO"][1:], environ["QUERY_STRING"]
    if name == "pieces":
        start_response("200 OK", [("Content-Length", str(int(value) * len(PIECE)))])
        return pieces(value)
    if name == "held":
        start_response("200 OK", [("Content-Length", "2")])
        return held(value)
    if name == "whole":
        start_response("200 OK", [("Content-Length", str(int(value) * len(PIECE)))])
        return [PIECE * int(value)]
    if name == "file":
        start_response("200 OK", [("Content-Length", str((HERE / "large").stat().st_size))])
        return environ["wsgi.file_wrapper"](open(HERE / "large", "rb"))
    if name == "upload":
        text = upload(environ)
    elif name == "":
        environ["wsgi.input"].read()
        text = "hello"
    elif name == "pid":
        text = str(os.getpid())
    else:
        text = {"wait": wait, "compute": compute, "sleep": sleep, "stuck": stuck,
                "fork": fork}[name](value)
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]
