"""The operator's hooks, waits, user and limits, from the settings (docs/hooks.rst).

Called in the master before its loop runs, and in every role.
"""

import os
from collections.abc import Mapping

from ..config.settings import Settings
from ..master.attached import hooks
from ..master.attached.hooks import Hook
from ..prefork.child import Child
from ..privileges import Identity
from ..system import probe
from ..system.limits import Limits
from ..system.program import ProgramContext

MEGABYTE = 2 ** 20
START_PHASES = ("asap", "pre-jail", "in-jail", "as-root")     # run as the user of the start


def accepting_phases(child: Child) -> tuple[str, ...]:
    """Return the phases of hooks that a worker runs before it accepts, in uWSGI's order."""
    phases = ("accepting",) + ("accepting-once",) * child.first
    if child.id == 1:
        phases += ("accepting1",) + ("accepting1-once",) * child.first
    return phases


def identity_of(settings: Settings) -> Identity:
    """Return the user and groups of the roles.

    Raises:
        ConfigError: the user or group does not exist.
    """
    return settings.identity


def wait_for_resources(settings: Settings, *kinds: str) -> None:
    """Wait for the resources that `wait-for-*` names.

    Args:
        settings: names them.
        kinds: keys of `system.probe.KINDS`.

    Raises:
        ConfigError: one does not exist in time.
    """
    for kind in kinds:
        limit = kind if kind in ("interface", "socket") else "fs"
        for name in getattr(settings, f"wait_for_{kind}"):
            try:
                probe.wait_for(kind, name, getattr(settings, f"wait_for_{limit}_timeout"))
            except TimeoutError as error:
                raise settings.origin(f"wait-for-{kind}").failure(str(error.strerror)) from None


def require_directory(settings: Settings) -> None:
    """Check the directory of `chdir`, before sockets and files in it fail.

    Raises:
        ConfigError: it does not exist.
    """
    path = settings.chdir
    if path and not os.path.isdir(path):
        raise settings.origin("chdir").failure(f"{path} is not a directory")


def limits_of(settings: Settings) -> Limits:
    """Return the resource limits of roles and daemons."""
    size = settings.limit_as
    return Limits(size and size * MEGABYTE, settings.limit_nproc, settings.prio)


def hooks_of(settings: Settings, phase: str) -> list[Hook]:
    """Return the hooks of a phase."""
    return [Hook(*fields) for fields in settings.hooks if fields[0] == phase]


def run_hooks(settings: Settings, environ: Mapping[str, str], *phases: str) -> None:
    """Run the hooks of several phases in this process, one after another.

    Args:
        settings: has the hooks.
        environ: the environment of their programs.
        phases: uWSGI's names.

    Raises:
        HookError: a hook failed.
    """
    for phase in phases:
        found = hooks_of(settings, phase)
        if found:
            hooks.run(found, phase, ProgramContext(environ), identity_of(settings).user)
