"""A callable that tells what it sees, as JSON; some paths answer otherwise."""

import ctypes
import json
import os
import sys

SEEN = ("APP_", "SITE_", "STAGE", "MAGIC_", "TZ")


def facts(environ):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return {
        "method": environ["REQUEST_METHOD"], "script": environ.get("SCRIPT_NAME", ""),
        "path": environ["PATH_INFO"], "query": environ["QUERY_STRING"],
        "scheme": environ["wsgi.url_scheme"], "name": __name__, "directory": os.getcwd(),
        "arguments": sys.argv[1:], "multiprocess": environ["wsgi.multiprocess"],
        "body": environ["wsgi.input"].read(length).decode(),
        "user": environ.get("REMOTE_USER"),
        "fields": {name: text for name, text in environ.items() if name.startswith("HTTP_X_")},
        "env": variables(),
        "umask": "%03o" % umask(), "uid": os.getuid() and "dropped", "loaded": loaded()}


def variables():
    """Read the environment of the process: the wheel's Python is older than the file's `env`."""
    listed = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    found = {}
    for index in range(10_000):
        if listed[index] is None:
            break
        name, _, text = os.fsdecode(listed[index]).partition("=")
        if name.startswith(SEEN):
            found[name] = text
    return found


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def loaded():
    return sorted(name for name in sys.modules if name.startswith("extra_"))


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise RuntimeError("broke as asked")
    if path == "/moved":
        start_response("301 Moved Permanently", [("Location", "/"), ("Content-Length", "0")])
        return []
    if path == "/nothing":
        start_response("204 No Content", [("X-Why", "nothing to say")])
        return []
    if path == "/missing":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here"]
    if path == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"),
                                  ("Set-Cookie", "b=2")])
        return (b"%d," % number for number in range(4))
    body = json.dumps(facts(environ), sort_keys=True).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(body)))])
    return [body]
