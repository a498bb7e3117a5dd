"""The hooks and daemons of a configuration as plain values, each with the line that set it.

They are in the order in which uWSGI runs them: the hooks of a phase before its `exec` commands.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from geventuwsgi.config.options.hooks import DAEMONS, PHASES
from geventuwsgi.config.resolve.paths import joined
from geventuwsgi.config.values.cron import Cron
from geventuwsgi.config.values.daemons import Daemon
from geventuwsgi.config.values.hooks import FUNCTIONS, parsed
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Many

_SIGNAL = "unix_signal:"


def derive(values: Mapping[str, Any], items: Mapping[str, Sequence[Origin]]) -> dict[str, object]:
    """Return the values of the settings about hooks and daemons.

    Args:
        values: the settings by attribute.
        items: for each repeatable option that was set, where each of its items was set.

    Returns:
        `hooks`: (phase, place, action, argument, private) of each;
        `touch_hooks`: (file, place, action, argument, private) of each;
        `bindings`: (signal, command of the master) of each unix_signal;
        `daemons`, `crons`: the fields of each as (name, value) pairs.
    """
    def written(name: str) -> list[tuple[str, Origin]]:
        attribute = name.replace("-", "_")
        texts = values[attribute]
        return list(zip(texts, items.get(attribute, [Origin()] * len(texts)), strict=True))

    hooks, bindings, daemons = [], [], []
    for phase, _, has_exec in PHASES:
        for text, origin in written(f"hook-{phase}"):
            if text.startswith(_SIGNAL):
                number, function = text.removeprefix(_SIGNAL).split()
                bindings.append((int(number), FUNCTIONS[function]))
            else:
                hooks.append((phase, _place(origin), *parsed(text, origin.error)))
        if has_exec:
            hooks += [(phase, _place(origin), "exec", text, False)
                      for text, origin in written(f"exec-{phase}")]
    touched = []
    for text, origin in written("hook-touch"):
        path, _, action = text.partition(" ")
        touched.append((path, _place(origin), *parsed(action.strip(), origin.error)))
    for text, origin in written("touch-exec"):
        path, _, command = text.partition(" ")
        touched.append((path, _place(origin), "exec", command, False))
    crons = []
    for option in DAEMONS:
        kind = option.value_type.of if isinstance(option.value_type, Many) else None
        if not isinstance(kind, (Daemon, Cron)):
            continue
        for text, origin in written(option.name):
            fields = {"place": _place(origin), **kind.parse(text, CastContext(origin))}
            if isinstance(kind, Cron):
                fields.setdefault("harakiri", values["cron_harakiri"])
                crons.append(tuple(fields.items()))
                continue
            if values["chdir"]:
                _make_absolute(os.path.abspath(values["chdir"]), fields)
            fields["stdin"] = fields.get("stdin", values["daemons_honour_stdin"])
            daemons.append(tuple(fields.items()))
    return {"hooks": tuple(hooks), "touch_hooks": tuple(touched), "bindings": tuple(bindings),
            "daemons": tuple(daemons), "crons": tuple(crons)}


def _make_absolute(directory: str, fields: dict[str, Any]) -> None:
    """Make the paths of a daemon absolute: uWSGI resolves them relative to `chdir` (`paths`)."""
    for name in ("pidfile", "directory"):
        if fields.get(name):
            fields[name] = joined(fields[name], directory)
    fields["touch"] = tuple(joined(path, directory) for path in fields.get("touch", ()))


def _place(origin: Origin) -> str:
    return f"{origin.place}: {origin.option}"
