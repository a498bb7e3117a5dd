"""The environ of requests through nginx, compared with that of real uWSGI.

Each server has an nginx of its own. The same requests have to produce the same variables,
except for those listed here.
"""

import json
import shutil
import socket
from pathlib import Path

import pytest

from tests.harness import Program, reference_uwsgi, wait_until
from tests.integration.conftest import backend
from tests.integration.nginx import Nginx

# Further variables that nginx may be configured to send.
PARAMS = """
            uwsgi_param SCRIPT_NAME "";
            uwsgi_param REMOTE_USER "fr\xe4ulein";
            uwsgi_param X_CUSTOM "a custom variable";
            uwsgi_param EMPTY "";
            uwsgi_param UWSGI_SETENV "INJECTED=1";
"""

# These differ between any two connections or installations.
OWN = {"REMOTE_PORT", "SERVER_PORT", "HTTP_HOST", "DOCUMENT_ROOT", "uwsgi.version", "uwsgi.node",
       "wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.multithread", "wsgi.multiprocess",
       "UWSGI_SETENV"}  # uWSGI applies it, and cuts it to pieces in doing so
# Variables of this server only, and of uWSGI only.
OURS = {"RAW_URI", "SERVER_SOFTWARE", "wsgi.input_terminated", "wsgi.early_hints",
        "geventuwsgi.socket", "gunicorn.socket", "geventuwsgi.disconnected"}
THEIRS = {"uwsgi.core"}

REQUESTS = {
    "plain": b"GET /probe/variables HTTP/1.1\r\n",
    "query": b"GET /probe/variables?a=1&b=%20+&c=?%3f HTTP/1.1\r\n",
    "escaped": b"GET /probe/v%61riables?x HTTP/1.1\r\n",
    "slashes": b"GET //probe///variables HTTP/1.1\r\n",
    "dots": b"GET /other/../probe/./variables HTTP/1.1\r\n",
    "fields": (b"GET /probe/variables HTTP/1.1\r\nUser-Agent: probe\r\nAccept: */*\r\n"
               b"X-Latin: caf\xe9\r\nX-Empty:\r\nX-Spaced:   a  b  \r\nProxy: http://evil/\r\n"
               b"Cookie: a=1; b=2\r\nAuthorization: Basic dTpw\r\nX-Under_Score: no\r\n"),
    "form": (b"POST /probe/variables HTTP/1.1\r\nContent-Length: 3\r\n"
             b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=1"),
    "empty": b"POST /probe/variables HTTP/1.1\r\nContent-Length: 0\r\n",
    "old": b"GET /probe/variables HTTP/1.0\r\n",
    "unusual": b"PROPFIND /probe/variables HTTP/1.1\r\nDepth: 1\r\n",
}


@pytest.fixture(scope="module")
def uwsgi(open_root):
    """Real uWSGI with the same application, on a unix socket."""
    binary = reference_uwsgi()
    directory = open_root / "uwsgi"
    directory.mkdir(mode=0o755)
    shutil.copy(Path(__file__).with_name("probe.py"), directory)
    path = directory / "uwsgi.sock"
    program = Program(binary, "--socket", str(path), "--chmod-socket=666", "--master",
                      "--http-socket", str(directory / "http.sock"),
                      "--die-on-term", "--need-app", "--manage-script-name", "--mount",
                      "/probe=probe.py", cwd=directory, env={"PYTHONPATH": ""})
    with program:
        program.wait_for("spawned uWSGI worker 1")
        yield f"unix:{path}"
        program.stop()


@pytest.fixture(scope="module")
def pair(server, uwsgi, place):
    """An nginx in front of each server: this one and uWSGI."""
    fronts = [Nginx(place / name, "uwsgi", where, location=PARAMS).start()
              for name, where in (("ours", backend(server, "uwsgi", 1)), ("theirs", uwsgi))]
    yield fronts
    for nginx in fronts:
        nginx.__exit__()


def variables(nginx, request):
    """Return the environ that a raw request produces."""
    head, blank, body = request.partition(b"\r\n\r\n")
    head = head.removesuffix(b"\r\n") + b"\r\nHost: shop\r\nConnection: close\r\n\r\n"
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(head + body)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert b" 200 " in received[:20], received
    return json.loads(received.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_variables_as_under_uwsgi(pair, name):
    ours, theirs = (variables(nginx, REQUESTS[name]) for nginx in pair)
    assert {key for key in ours if key not in theirs} <= OURS
    assert {key for key in theirs if key not in ours} <= THEIRS
    different = {key: (ours[key], theirs[key]) for key in ours
                 if key in theirs and key not in OWN and ours[key] != theirs[key]}
    assert different == {}


def test_repeated_fields_are_joined_where_uwsgi_takes_the_last(pair):
    request = (b"GET /probe/variables HTTP/1.1\r\nX-Many: one\r\nX-Many: two\r\n"
               b"Accept: a\r\nAccept: b\r\n")
    ours, theirs = (variables(nginx, request) for nginx in pair)
    assert (ours["HTTP_X_MANY"], ours["HTTP_ACCEPT"]) == ("one, two", "a, b")
    assert theirs["HTTP_X_MANY"] in ("two", "one, two")  # as of nginx 1.23 it joins


def test_variables_of_nginx_are_used_and_load_no_code(pair):
    seen = variables(pair[0], REQUESTS["plain"])
    assert seen["REMOTE_USER"] == "fr\xc3\xa4ulein"  # the file is UTF-8, the environ latin-1
    assert seen["X_CUSTOM"] == "a custom variable"
    assert seen["REMOTE_ADDR"] == "127.0.0.1" and seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["wsgi.url_scheme"] == "http" and seen["UWSGI_SCHEME"] == "http"
    assert seen["DOCUMENT_ROOT"] and seen["SERVER_PORT"] == str(pair[0].address[1])
    assert seen["UWSGI_SETENV"] == "INJECTED=1" and "INJECTED" not in seen


@pytest.mark.parametrize("target", [
    "/probe/variables?a=1", "/probe//variables/../variables", "/probe/%76ariables",
    "/probe/variables?%2f..//", "/probe/variables?", "/./probe/./variables", "/probe%2fvariables",
    "/x/../probe/variables?a=/../b", "/probe/x/..%2fvariables"])
def test_paths_over_http_are_those_of_uwsgi(uwsgi, server, target):
    """Dot segments are removed before decoding; double slashes and the query are kept."""
    request = f"GET {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(uwsgi.removeprefix("unix:").replace("uwsgi.sock", "http.sock"))
        client.sendall(request)
        theirs = b"".join(iter(lambda: client.recv(65536), b""))
    ours = server.talk(request)
    assert ours.split()[1] == theirs.split()[1]
    if ours.split()[1] == b"200":
        ours, theirs = (json.loads(one.partition(b"\r\n\r\n")[2]) for one in (ours, theirs))
        for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI"):
            assert ours[name] == theirs[name], name


@pytest.fixture
def started(directory):
    """Start nginx instances that end with the test."""
    made = []

    def start(*arguments, **named):
        made.append(Nginx(directory / f"nginx{len(made)}", *arguments, **named).start())
        return made[-1]
    yield start
    for nginx in made:
        nginx.__exit__()


def test_script_name_of_nginx(started, server):
    """uwsgi_param SCRIPT_NAME chooses the application."""
    nginx = started("uwsgi", backend(server, "uwsgi", 0), edit=(
        ("uwsgi_param PATH_INFO       $document_uri;",
         'uwsgi_param PATH_INFO "/probe/variables"; uwsgi_param SCRIPT_NAME "/ignored";'),))
    seen = json.loads(nginx.ask("/anything").body)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/probe", "/variables")


@pytest.mark.parametrize("location, scheme", [
    ("", "http"), ("uwsgi_param HTTPS on;", "http"), ("uwsgi_param UWSGI_SCHEME https;", "https")])
def test_the_scheme_over_uwsgi(started, server, location, scheme):
    """UWSGI_SCHEME decides, which the example's nginx sends; without it HTTPS does."""
    nginx = started("uwsgi", backend(server, "uwsgi", 0), edit=(
        ("uwsgi_param UWSGI_SCHEME    $scheme;", location or "uwsgi_param X y;"),))
    seen = json.loads(nginx.ask("/probe/variables").body)
    assert seen["wsgi.url_scheme"] == ("https" if "HTTPS" in location else scheme)


def test_the_scheme_over_http(started, server):
    """A TLS-terminating nginx sends X-Forwarded-Proto, which is trusted on loopback."""
    nginx = started("http", backend(server, "http", 0), edit=(
        ("X-Forwarded-Proto $scheme", "X-Forwarded-Proto https"),))
    seen = json.loads(nginx.ask("/probe/variables").body)
    assert seen["wsgi.url_scheme"] == "https"
    assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1" == seen["REMOTE_ADDR"]
    wait_until(lambda: not nginx.errors)
