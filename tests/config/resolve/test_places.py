"""Messages name the line, and the option as it was written there."""

import pytest

from geventuwsgi.errors import ConfigError
from tests.config.conftest import Resolve

BASE = "[geventuwsgi]\nmodule = a\n"


def warned(resolve: Resolve, text: str, words: str) -> list[str]:
    return [one.partition("app.ini:")[2] for one in resolve(BASE + text).warnings if words in one]


@pytest.mark.parametrize("text, words, place", [
    ("ssl-certfile = a.crt\nssl-keyfile = a.key\nhttp-socket = :1\n", "no socket uses it",
     "3: ssl-certfile: "),
    ("ssl-certfile = a.crt\nssl-keyfile = a.key\nbind = :1\nssl-ca-certs = b.crt\n",
     "clients are not asked", "6: ssl-ca-certs: "),
    ("http-ss = :1\n", "no effect without a router", "3: http-ss: "),
    ("http-socket = :3\nhttp-stats = :1\nhttp-ss = :2\n", "no effect without a router",
     "4: http-stats: "),
    ("shared-socket = :1\nundeferred-shared-socket = :2\nhttp-socket = =1\n",
     "not bound", "3: shared-socket: "),
    ("shared-socket = :1\nundeferred-shared-socket = :2\nhttp-socket = =0\n",
     "not bound", "4: undeferred-shared-socket: "),
    ("cheaper-step = 2\n", "no effect without cheaper", "3: cheaper-step: "),
    ("max-requests-jitter = 5\n", "no effect without max-requests", "3: max-requests-jitter: "),
])
def test_a_warning(resolve: Resolve, text: str, words: str, place: str) -> None:
    found = warned(resolve, text, words)
    assert [one.startswith(place) for one in found[:1]] == [True] * bool(place), found


@pytest.mark.parametrize("text, message", [
    ("workers = 2\ncheaper = 3\n", "4: cheaper: invalid cheaper value: must be lower than "
     "processes: cheaper = 3 (app.ini:4), workers = 2 (app.ini:3)"),
    ("workers = 2\nmap-socket = 0:5\nmap-socket = 0:1\nhttp-socket = :1\n",
     "4: map-socket: 0:5: there is no worker 5"),
    ("http-socket = =7\nhttp-socket = :1\n", "3: http-socket: =7: there is no shared-socket 7"),
    ("mount = one|/=a\nmount = /b=b\n", "3: mount: one|/=a: an application for one host"),
    ("harakiri-path = /a=3\nharakiri-path = /a=4\nharakiri-path = /b=1\n",
     "4: harakiri-path: /a has two limits"),
])
def test_an_error(resolve: Resolve, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(BASE + text)
    found = str(caught.value).replace(str(caught.value.file), "app.ini")
    assert found.startswith("app.ini:" + message), found
