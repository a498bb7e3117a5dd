"""The points of a process's life at which the operator's hooks run, and its limits.

Called in the master before it begins its loop, and in every role (docs/hooks.rst).
"""

import os
from collections.abc import Mapping

from ..config.settings import Settings
from ..master.attached import hooks
from ..master.attached.hooks import Hook
from ..prefork.child import Child
from ..system import probe
from ..system.limits import Limits
from ..system.privileges import Identity
from ..system.program import ProgramContext

MEGABYTE = 2 ** 20
AT_THE_START = ("asap", "pre-jail", "in-jail", "as-root")  # while we are who we were started as


def accepting(child: Child) -> tuple[str, ...]:
    """Return the phases that a worker passes before it accepts, in uWSGI's order."""
    phases = ("accepting",) + ("accepting-once",) * child.first
    if child.id == 1:
        phases += ("accepting1",) + ("accepting1-once",) * child.first
    return phases


def identity_of(settings: Settings) -> Identity:
    """Return who the roles are to be.

    Raises:
        ConfigError: there is no such user or group.
    """
    return Identity(settings.uid, settings.gid, settings.add_gid,
                    initgroups=not settings.no_initgroups)


def await_things(settings: Settings, *kinds: str) -> None:
    """Wait for what the settings say has to be there.

    Args:
        settings: where it is named.
        kinds: words of `process.awaiting`.

    Raises:
        ConfigError: it is not there in time.
    """
    for kind in kinds:
        limit = kind if kind in ("interface", "socket") else "fs"
        for name in getattr(settings, f"wait_for_{kind}"):
            try:
                probe.wait_for(kind, name, getattr(settings, f"wait_for_{limit}_timeout"))
            except TimeoutError as error:
                raise settings.origin(f"wait-for-{kind}").failure(str(error.strerror)) from None


def require_directory(settings: Settings) -> None:
    """Refuse a `chdir` to nowhere, before sockets and files below it fail.

    Raises:
        ConfigError: naming the place.
    """
    path = settings.chdir
    if path and not os.path.isdir(path):
        raise settings.origin("chdir").failure(f"{path} is no directory")


def limits_of(settings: Settings) -> Limits:
    """Return the limits of roles and daemons."""
    size = settings.limit_as
    return Limits(size and size * MEGABYTE, settings.limit_nproc, settings.prio)


def hooks_of(settings: Settings, phase: str) -> list[Hook]:
    """Return the hooks of a phase."""
    return [Hook(*fields) for fields in settings.hooks if fields[0] == phase]


def run_hooks(settings: Settings, environ: Mapping[str, str], *phases: str) -> None:
    """Run the hooks of phases in this process, one after another.

    Args:
        settings: where the hooks stand.
        environ: the environment of what they run.
        phases: uWSGI's names.

    Raises:
        HookError: one failed.
    """
    for phase in phases:
        found = hooks_of(settings, phase)
        if found:
            hooks.run(found, phase, ProgramContext(environ))
