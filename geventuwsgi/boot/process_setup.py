"""The command, environment, title, sys.path and directory of a process, from its settings."""

import logging
import os
import sys
from collections.abc import Iterable

from ..config.settings import Settings
from ..master.attached.systemd import VARIABLES
from ..master.posix_spawn import interpreter
from ..system.title import Titles

logger = logging.getLogger("geventuwsgi.error")

# The directory that holds this package.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# The beginning of the code for `python -c`. The empty entry of sys.path is the current directory,
# where a file of the application may have the name of one of our modules or of Python's.
_PROLOGUE = f"""\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {_ROOT!r} not in sys.path: sys.path.append({_ROOT!r})
"""


def command_of(module: str, function: str, more: str = "",
               optimize: int | None = None) -> tuple[str, ...]:
    """Return the command that calls a function of ours with numbers from its command line.

    Args:
        module: the dotted name of a module of this package.
        function: the name of the function there.
        more: further arguments, as source text.
        optimize: as of `master.spawn.interpreter`.
    """
    call = f"{function}(*map(int, sys.argv[1:]){more})"
    return interpreter(f"{_PROLOGUE}from {module} import {function}\n{call}\n", optimize)


def environ_of(settings: Settings) -> dict[str, str]:
    """Return the environment of the roles: ours, changed by `env`, `unenv` and `envdir`.

    It is set before their interpreter starts, so that PYTHONPATH, TZ and LANG take effect. The
    variables of the service manager are removed; they are for this process only.
    """
    environ = dict(os.environ)
    if settings.dev:
        environ.setdefault("FLASK_DEBUG", "1")  # so that Flask shows its errors
    for name in (*VARIABLES, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    parts = [assignment.partition("=") for assignment in settings.env if assignment]
    assigned = [(name, value if equals else None) for name, equals, value in parts]
    removed = [(name, None) for name in settings.unenv]
    for name, value in (*settings.early_variables, *assigned, *removed, *settings.late_variables):
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ


def product_of(settings: Settings) -> str:
    """Return what the log and the process titles call this server (`log-dialect`)."""
    return "uWSGI" if settings.log_dialect == "uwsgi" else "geventuwsgi"


def titles_of(settings: Settings) -> Titles:
    """Return the titles of the processes."""
    return Titles(
        product_of(settings), on=settings.auto_procname,
        prefix=settings.procname_prefix, prefix_spaced=settings.procname_prefix_spaced,
        append=settings.procname_append, name=settings.procname, master=settings.procname_master)


def cores_of(settings: Settings) -> int:
    """Return how many requests a worker runs at once: slots, or with ASGI connections."""
    cores: int = (settings.worker_connections if settings.interface == "asgi"
                  else settings.slots)
    return cores


def as_asgi(settings: Settings) -> Settings:
    """Return the settings of an application that `interface = auto` found to be ASGI."""
    lazy = settings.lazy_apps or settings.origin("lazy-apps").kind == "default"
    return settings.replace(interface="asgi", lazy_apps=lazy)


def prepare_paths(settings: Settings) -> None:
    """Set the current directory and sys.path for the application.

    The order is uWSGI's: `pythonpath`, the last one first, then the current directory, the
    packages of `home`, and those of our own interpreter.
    """
    import glob
    import site

    if settings.home:
        packages = packages_of(settings)
        known = list(sys.path)
        site.addsitedir(packages)  # its .pth files count
        sys.path[:] = [path for path in sys.path if path not in known] + known
        sys.prefix = sys.exec_prefix = settings.home
        os.environ["VIRTUAL_ENV"] = settings.home
        logger.info("Set PythonHome to %s", settings.home)
    if settings.chdir:
        change_directory(settings, "chdir")
    sys.path.insert(0, os.getcwd())
    for pattern in settings.pythonpath:
        for path in sorted(glob.glob(pattern)) or [pattern]:
            sys.path.insert(0, os.path.abspath(path))


def prepare_modules(settings: Settings) -> None:
    """Import the modules of `pymodule-alias` and `shared-import`.

    Raises:
        AppLoadError: the module of an alias cannot be imported.
    """
    from ..app import loader

    for alias in settings.pymodule_alias:
        name, _, target = alias.partition("=")
        sys.modules[name] = loader.import_source(target, "/" in target)
        logger.info('mapped virtual pymodule "%s" to real pymodule "%s"', name, target)
    import_all(settings.shared_import, "shared-import")


def import_all(sources: Iterable[str], option: str) -> None:
    """Import modules; log those that fail and continue, as uWSGI does."""
    from ..app import loader

    for source in sources:
        try:
            loader.import_source(source)
        except loader.AppLoadError as error:
            logger.error("%s = %s: %s\n%s", option, source, error, error.traceback.rstrip())


def packages_of(settings: Settings) -> str:
    """Return the site-packages directory of the virtual environment of `home`.

    Raises:
        ConfigError: it has none for the version of Python that runs this server.
    """
    import glob

    home, origin = settings.home, settings.origin("home")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = os.path.join(home, "lib", f"python{version}", "site-packages")
    if os.path.isdir(packages):
        return packages
    others = glob.glob(os.path.join(home, "lib", "python*", "site-packages"))
    if others:
        other = others[0].split(os.sep)[-2].removeprefix("python")
        raise origin.failure(f"{home} is an environment of Python {other}, this server runs on "
                             f"Python {version}: install it there, or create the environment again")
    raise origin.failure(f"{home} is not a virtual environment (there is no {packages})")


def change_directory(settings: Settings, option: str) -> None:
    """Change to the directory of an option.

    Raises:
        ConfigError: this fails.
    """
    path = getattr(settings, option)
    try:
        os.chdir(path)
    except OSError as error:
        raise settings.origin(option).failure(
            f"cannot change to {path}: {error.strerror}") from None
