"""The names of options, compared with the programs that have them."""

import re
import subprocess

import pytest

from geventuwsgi.config.options.aliases import GUNICORN_HOOKS, GUNICORN_NAMES, GUNICORN_SETTINGS
from geventuwsgi.config.options.names import ALSO_GUNICORN, NOT_UWSGI, by_server
from geventuwsgi.config.options.table import OPTIONS, row
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import UsageError
from tests.harness import reference_uwsgi

ROWS = [option for option in OPTIONS if option.section and option.section != "INI logic"]
# The wheel of uWSGI that is tested against was built without TLS.
TLS = re.compile(r"https|sni|ssl-option|http-to-https|subscriptions-sign")


def test_uwsgis_names() -> None:
    text = subprocess.run([reference_uwsgi(), "--help"], capture_output=True, text=True).stdout
    known = set(re.findall(r"--([a-z0-9][\w.-]*)", text))
    assert len(known) > 800
    names = [name for option in ROWS if option.everywhere
             for name in (option.name, *option.aliases) if not TLS.match(name)]
    wrong = [name for name in names if (name in known) == (name in NOT_UWSGI)]
    assert not wrong, "NOT_UWSGI of config/options/names.py lists what uWSGI does not have"


def test_gunicorns_flags() -> None:
    """Each flag and each setting is an option here, possibly an ignored or refused one."""
    config = pytest.importorskip("gunicorn.config")
    for setting in config.KNOWN_SETTINGS:
        for flag in setting.cli or ():
            assert len(flag) == 2 or row(flag[2:]), flag
        key = GUNICORN_SETTINGS.get(setting.name, setting.name.replace("_", "-"))
        assert row(key) or setting.name in GUNICORN_HOOKS, setting.name
        assert setting.name in GUNICORN_NAMES | GUNICORN_HOOKS.keys(), setting.name
        if setting.section == "Server Hooks":
            assert GUNICORN_HOOKS[setting.name]


def test_gunicorns_names() -> None:
    config = pytest.importorskip("gunicorn.config")
    known = {setting.name.replace("_", "-") for setting in config.KNOWN_SETTINGS}
    known |= {flag[2:] for setting in config.KNOWN_SETTINGS for flag in setting.cli or ()}
    for option in ROWS:
        for name in (option.name, *option.aliases):
            assert (name in known) == (name in ALSO_GUNICORN), name


# 0 processes or connections serve nothing.
MEANINGLESS = {("workers", 0), ("worker_connections", 0)}


def test_gunicorns_numbers() -> None:
    """Each number that gunicorn's validators accept is accepted, 0 among them."""
    config = pytest.importorskip("gunicorn.config")
    for setting in config.KNOWN_SETTINGS:
        option = row(GUNICORN_SETTINGS.get(setting.name, setting.name.replace("_", "-")))
        if type(setting.default) is not int or option is None or option.status != "taken":
            continue
        for number in {0, 1, setting.default}:
            setting.validator(number)
            text = f"{number:03o}" if option.value_type.octal else str(number)
            try:
                option.value_type.cast(text, CastContext(Origin("argv", option=setting.name)))
            except UsageError:
                assert (setting.name, number) in MEANINGLESS


@pytest.mark.parametrize(("name", "found"), [
    ("processes", {"uWSGI": ["processes", "workers"], "gunicorn": ["workers"]}),
    ("bind", {"gunicorn": ["bind"]}),
    ("worker-timeout", {"gunicorn": ["timeout"], "uvicorn": ["timeout-worker-healthcheck"]}),
    ("harakiri", {"uWSGI": ["harakiri"]}),
    ("slow-request", {}),
])
def test_by_server(name: str, found: dict[str, list[str]]) -> None:
    option = row(name)
    assert option is not None
    servers = by_server(option)
    assert {server: names for server, names in servers.items() if server != "Also"} == found
