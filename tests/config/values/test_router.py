"""The syntax of nodes, routes and subscriptions, and when there is a router."""

from typing import Any

import pytest

from geventuwsgi.config.values import router
from geventuwsgi.errors import ConfigError
from geventuwsgi.master.attached.announcer import subscriptions_of


@pytest.mark.parametrize("text, expected", [
    ("127.0.0.1:3031", ("127.0.0.1:3031", "uwsgi", 1, 0)),
    ("/run/app.sock,weight=3", ("/run/app.sock", "uwsgi", 3, 0)),
    ("http://127.0.0.1:80, weight=2, connections=5", ("127.0.0.1:80", "http", 2, 5)),
    ("http://unix:/run/a.sock", ("/run/a.sock", "http", 1, 0)),
    ("http://example.com:80/", ("example.com:80", "http", 1, 0)),
    ("uwsgi://[::1]:3031", ("[::1]:3031", "uwsgi", 1, 0)),
    ("@abstract", ("@abstract", "uwsgi", 1, 0)),
])
def test_nodes(text: str, expected: tuple[object, ...]) -> None:
    found = router.node(text)
    assert (found.address.text, found.protocol, found.weight, found.connections) == expected


def test_weights_of_announcements(resolve: Any) -> None:
    lines = ("subscribe-to = 127.0.0.1:1:a\nsubscribe2 = server=127.0.0.1:1,key=b,weight=7\n"
             "socket = :1\nprocesses = 3\ngevent = 5\n")
    for more, expected in (("", [(1, 0), (7, 0)]), ("weight = 4\n", [(4, 0), (7, 0)]),
                           ("auto-weight = true\n", [(15, 0), (7, 0)]),
                           ("subscribe-with-modifier1 = 30\n", [(1, 30), (7, 30)])):
        found = subscriptions_of(resolve(lines + more))
        assert [(one.weight, one.modifier1) for one in found] == expected


@pytest.mark.parametrize("text", [
    "", "3031", "127.0.0.1", "https://127.0.0.1:443", "127.0.0.1:99999", "fd://3",
    "127.0.0.1:1,weight=0", "127.0.0.1:1,weight=x", "127.0.0.1:1,max=3", "127.0.0.1:1,weight=5000",
])
def test_wrong_nodes(text: str) -> None:
    with pytest.raises(ValueError):
        router.node(text)


@pytest.mark.parametrize("text, host, path", [
    ("example.com/api=127.0.0.1:1", "example.com", "/api"),
    ("*.Example.com=127.0.0.1:1", "*.example.com", ""),
    ("/api/=127.0.0.1:1", "", "/api/"), ("*/x=127.0.0.1:1", "", "/x"),
])
def test_routes(text: str, host: str, path: str) -> None:
    found = router.route(text)
    assert (found.host, found.path) == (host, path)


@pytest.mark.parametrize("text", [
    "", "example.com", "example.com=", "a b=127.0.0.1:1", "/a?b=127.0.0.1:1", "a.*=127.0.0.1:1"])
def test_wrong_routes(text: str) -> None:
    with pytest.raises(ValueError):
        router.route(text)


def test_subscriptions() -> None:
    one = router.subscribe_to("127.0.0.1:5500:example.com")
    assert (one.server.text, one.key, one.address) == ("127.0.0.1:5500", "example.com", "")
    one = router.subscribe_to("/run/ss.sock:example.com:8080,5")
    assert (one.server.text, one.key, one.modifier1) == ("/run/ss.sock", "example.com:8080", 5)
    one = router.subscribe_to("10.0.0.1:3031=127.0.0.1:5500:@/etc/keys")
    assert (one.address, one.key) == ("10.0.0.1:3031", "@/etc/keys")
    one = router.subscribe2("server=127.0.0.1:5500,key=a,weight=3,socket=1,check=/x,addr=b:1")
    assert (one.weight, one.socket, one.check, one.address) == (3, 1, "/x", "b:1")
    for one in (router.subscribe_to("127.0.0.1:5500:k,0,SHA256:/key.pem"),
                router.subscribe2("server=127.0.0.1:5500,key=k,sign=SHA256:/key.pem")):
        assert one.sign == "SHA256:/key.pem"


@pytest.mark.parametrize("text", [
    "", "127.0.0.1:5500", "127.0.0.1", ":key", "127.0.0.1:5500:k,300", "127.0.0.1:5500:k,,MD5:x",
    "127.0.0.1:5500:k,,SHA1"])
def test_wrong_subscriptions(text: str) -> None:
    with pytest.raises(ValueError):
        router.subscribe_to(text)


@pytest.mark.parametrize("text", [
    "", "key=a", "server=127.0.0.1:1", "server=127.0.0.1:1,key=a,weight=-1",
    "server=127.0.0.1:1,key=a,sign=SHA1", "server=127.0.0.1:1,key=a,sign=/key",
    "server=127.0.0.1:1,key=a,whatever=1",
    "server=1,key=a", "server=127.0.0.1:1,key=a,modifier1=256"])
def test_wrong_subscriptions_in_the_long_form(text: str) -> None:
    with pytest.raises(ValueError):
        router.subscribe2(text)


@pytest.mark.parametrize("lines, router, standalone, owners", [
    ("http = :1\nmodule = a", True, False, ("router",)),           # one slot: a router
    ("http = :1\nmodule = a\ngevent = 5", False, False, ("worker",)),
    ("http = :1\nmodule = a\ngevent = 5\nhttp-router = true", True, False, ("router",)),
    ("http = :1\nmodule = a\nhttp-router = false", False, False, ("worker",)),
    ("http-socket = :1\nmodule = a", False, False, ("worker",)),
    ("socket = :2\nhttp = :1\nmodule = a\nhttp-to = a:3", True, False, ("worker", "router")),
    ("http = :1\nhttp-to = 127.0.0.1:3", True, True, ("router",)),
    ("http = :1\nhttp-route = /a=127.0.0.1:3", True, True, ("router",)),
    ("http = :1\nhttp-subscription-server = :9", True, True, ("router",)),
    ("https = :1,c,k\nhttp-to-https = :2,443\nmodule = a\ngevent = 9", True, False,
     ("router", "router")),
    ("stats = :8\nhttp = :1\nmodule = a\nmetrics = :9", True, False,
     ("monitor", "router", "monitor")),
])
def test_when_there_is_a_router(resolve: Any, lines: str, router: bool, standalone: bool,
                                owners: tuple[str, ...]) -> None:
    found = resolve(lines)
    assert (found.router, found.standalone, found.owners) == (router, standalone, owners)


@pytest.mark.parametrize("lines, word", [
    ("http-to = 127.0.0.1:1", "http = ADDRESS"),
    ("http = :1\nhttp-router = false\nhttp-to = 127.0.0.1:1", "http-router is false"),
    ("http = :1\nhttp-to = nonsense:x:y", "http-to"),
    ("http = :1\nsocket = :2\nhttp-to = a:1", "no application to serve"),
    ("http = :1\nmodule = a\nhttp-subscription-fallback-key = a", "http-subscription-server"),
    ("http-to-https = :1,443\nhttp-to-https = :2,8443\nmodule = a", "one port"),
])
def test_contradictions(resolve: Any, lines: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        resolve(lines)
