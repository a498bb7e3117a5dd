"""A small WSGI application: a page about itself, an echo, a stream and a health check.

    GET  /           a page that shows which process served it
    *    /echo       the request as JSON: method, path, headers, body
    GET  /stream     ten lines, one every tenth of a second
    GET  /healthz    204, for probes
"""

import html
import json
import os
import time

PAGE = """<!doctype html>
<title>geventuwsgi</title>
<h1>It works</h1>
<p>Process {pid} answered {method} {path} over {protocol} for {client}.
<p>Try <a href="{script}/echo?a=1">/echo</a>, <a href="{script}/stream">/stream</a>
and <a href="{script}/healthz">/healthz</a>.
"""

MAX_ECHO = 1 << 20


def application(environ, start_response):
    """Respond to one request (PEP 3333)."""
    path = environ.get("PATH_INFO") or "/"
    answer = ROUTES.get(path)
    if answer is None:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        return [b"not found\n"]
    return answer(environ, start_response)


def page(environ, start_response):
    """Show which process served the request."""
    body = PAGE.format(
        pid=os.getpid(),
        method=html.escape(environ["REQUEST_METHOD"]),
        path=html.escape(environ.get("REQUEST_URI", "/")),
        protocol=html.escape(environ["SERVER_PROTOCOL"]),
        client=html.escape(environ.get("REMOTE_ADDR") or "a unix socket"),
        script=html.escape(environ.get("SCRIPT_NAME", ""), quote=True),
    ).encode("latin-1", "replace")
    start_response("200 OK", [("Content-Type", "text/html; charset=iso-8859-1"),
                              ("Content-Length", str(len(body)))])
    return [body]


def echo(environ, start_response):
    """Send the request back, with the first MiB of its body."""
    body = environ["wsgi.input"].read(MAX_ECHO)
    seen = {
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "script_name": environ.get("SCRIPT_NAME", ""),
        "path_info": environ.get("PATH_INFO", ""),
        "query_string": environ.get("QUERY_STRING", ""),
        "remote_addr": environ.get("REMOTE_ADDR", ""),
        "headers": {name: value for name, value in sorted(environ.items())
                    if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")},
        "body": body.decode("latin-1"),
    }
    answer = json.dumps(seen, indent=2).encode() + b"\n"
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(answer)))])
    return [answer]


def stream(environ, start_response):
    """Send ten lines slowly; other requests are served in between."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(10):
        yield b"line %d\n" % number
        time.sleep(0.1)


def healthz(environ, start_response):
    """Respond to a probe."""
    start_response("204 No Content", [])
    return []


ROUTES = {"/": page, "/echo": echo, "/stream": stream, "/healthz": healthz}
