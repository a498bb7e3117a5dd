"""The forms of scheduled commands."""

from typing import Any

import pytest

from geventuwsgi.config.values import cron
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError

pytestmark = pytest.mark.fast
ORIGIN = Origin("file", file="app.ini", line=3, option="cron")
TIMES = {"minute": -5, "hour": 3, "day": -1, "month": -1, "week": 7}


@pytest.mark.parametrize("parse, text, more", [
    (cron.listed, "-5 3 -1 -1 7 run  --this", {"command": "run  --this"}),
    (cron.listed, "  -5\t3 -1 -1 7  run  --this", {"command": "run  --this"}),
    (cron.unique, "-5 3 -1 -1 7 run", {"command": "run", "unique": True}),
    (cron.keyed, "minute=-5,hour=3,week=7,unique=1,harakiri=30 run this",
     {"command": "run this", "unique": True, "harakiri": 30}),
    (cron.keyed, "week=7,unique=0,hour=3,minute=-5 run a=b",
     {"command": "run a=b", "unique": False}),
])
def test_forms(parse: Any, text: str, more: dict[str, object]) -> None:
    assert parse(text, CastContext(ORIGIN)) == {**TIMES, **more}


def test_without_keys_it_runs_every_minute() -> None:
    assert cron.keyed("run this", CastContext(ORIGIN)) == {
        **dict.fromkeys(TIMES, -1), "command": "run this"}


@pytest.mark.parametrize("parse, text, reason", [
    (cron.listed, "1 2 3 4 5", "not of the form"), (cron.listed, "", "not of the form"),
    (cron.listed, "*/5 * * * * run", "'*/5' is not a number (-1 means any"),
    (cron.listed, "1,2 3 4 5 6 run", "'1,2' is not a number"),
    (cron.keyed, "minute=5", "has no command"), (cron.keyed, "minute= run", "'' is not a number"),
    (cron.keyed, "unique=true run", "unique: 'true' is not a number"),
    (cron.keyed, "legion=x run", "there is no key 'legion'"),
    (cron.keyed, "minut=5 run", "there is no key 'minut', only minute, hour, day, month, week"),
])
def test_wrong_lines(parse: Any, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cron.Cron(parse, "").value(text, CastContext(ORIGIN))
    assert "app.ini:3: cron: " in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize("text", ["60 -1 -1 -1 -1 run", "-1 24 -1 -1 -1 run", "-1 -1 0 -1 -1 run",
                                  "-1 -1 -1 13 -1 run", "-1 -1 -1 -1 8 run"])
def test_a_time_that_never_comes(text: str) -> None:
    warnings: list[str] = []
    cron.listed(text, CastContext(ORIGIN, warnings))
    assert len(warnings) == 1 and "the command never runs" in warnings[0]
