"""Load applications by the names that configurations use.

Every option that names an application accepts these spellings:

    pkg.mod                      the attribute `application`, else `app`
    pkg.mod:attr.sub             that attribute
    pkg.mod:factory()            what the factory returns
    pkg.mod:factory("x", a=1)    the same with arguments, literals only
    path/app.py  path/app.py:f() a file instead of a module (also `.wsgi`)
    config:app.ini#name          an application of PasteDeploy (`paste`)

Every failure is an `AppLoadError` that says what to change. Its traceback is the
application's own, without the frames of this server and of importlib.
"""

import ast
import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import logging
import os
import sys
import time
import traceback
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from ..errors import AppLoadError, NoCallableError
from ..log import tracebacks
from . import paste as uris
from .applications import Application, Applications, origin_of
from .interface import check_callable, is_double_callable, single_callable

log = logging.getLogger("geventuwsgi.error")

DEFAULT_NAMES = ("application", "app")
FILE_ENDINGS = (".py", ".wsgi")
FACTORY_STARTS = ("create", "make", "build", "get_")
# Files whose frames belong to the loading and not to the application: this server's,
# importlib's, PasteDeploy's and those of Flask's command line.
LOADING_FRAMES = (__file__, uris.__file__, os.path.join(tracebacks.PACKAGE_DIRECTORY, "flask.py"),
                  os.path.join(tracebacks.PACKAGE_DIRECTORY, "django", ""),
                  os.path.join(os.path.dirname(importlib.__file__), ""), "<frozen importlib")
LOADING_PARTS = (os.path.join("site-packages", "paste", "deploy", ""),
                 os.path.join("site-packages", "flask", "cli.py"))

Call = tuple[list[Any], dict[str, Any]]  # positional and named arguments of a factory


def load(*, application: str | None = None, module: str | None = None,
         wsgi_file: str | None = None, callable: str | None = None,
         asgi: str | None = None, mounts: Iterable[str] = (), manage_script_name: bool = False,
         need_app: bool = True, interface: str = "auto", factory: bool = False,
         paste: str | None = None, paste_global: Iterable[str] = (),
         ignore_script_name: bool = False,
         no_default_app: bool = False, virtual_host: str = "") -> Applications:
    """Load all applications that the configuration names, in uWSGI's order.

    Args:
        application: a module or a file, as on the command line.
        asgi: the same for an ASGI application.
        module: uWSGI's `module`.
        wsgi_file: uWSGI's `wsgi-file`.
        paste: a PasteDeploy URI, `config:app.ini#name`. The first given of these five is
            mounted at ""; the others are skipped with a warning, as in uWSGI. One whose
            module has no application leaves its place to the next.
        callable: the attribute (or `factory()`) for spellings that name none; the default
            is `application`, then `app`.
        mounts: texts `[HOST|]/prefix=spelling`.
        manage_script_name, ignore_script_name, no_default_app, virtual_host: see
            `Applications`.
        need_app: False keeps the applications that load and puts the errors of the others
            into `failures`.
        interface: "wsgi", "asgi", or "auto" to inspect each callable.
        factory: a spelling without a call names a factory (uvicorn's `--factory`).

    A module named without an attribute may define a dictionary `applications` of
    mountpoints and callables (or spellings); then all of them are loaded, as in uWSGI.

    Raises:
        AppLoadError: an application does not load, or none is named.
    """
    loading = _Loading(callable, interface, factory, paste_global)
    wanted = [("", spelling, is_file) for spelling, is_file in (
        (application, False), (asgi, False), (module, False), (paste, False), (wsgi_file, True))
        if spelling]
    for mount in mounts:
        mountpoint, _, spelling = mount.partition("=")
        wanted.append((mountpoint.strip(), spelling.strip(), False))
    if not wanted and need_app:
        raise AppLoadError("no application is given: name one as module:callable or file.py, "
                           "or set `module`, `wsgi-file`, `asgi`, `paste` or `mount`")
    failures = []
    defaults = [spelling for mountpoint, spelling, _ in wanted if not mountpoint]
    for number, (mountpoint, spelling, is_file) in enumerate(wanted, 1):
        try:
            loading.load(mountpoint, spelling, is_file)
        except AppLoadError as error:
            if isinstance(error, NoCallableError) and not mountpoint and defaults[number:]:
                log.warning("%s; %s is loaded instead", error, defaults[number])
                continue
            if need_app:
                raise
            failures.append(error)
    return Applications(
        loading.loaded, manage_script_name=manage_script_name,
        ignore_script_name=ignore_script_name, no_default=no_default_app,
        virtual_host=virtual_host, failures=failures)


class _Loading:
    """The applications loaded so far, and the options for all of them."""

    def __init__(self, default_callable: str | None, interface: str, factory: bool,
                 paste_global: Iterable[str] = ()) -> None:
        self.default_callable = default_callable or ""
        self.interface = interface
        self.factory = factory
        self.paste_global = uris.variables(paste_global)
        self.loaded: list[Application] = []

    def load(self, mountpoint: str, spelling: str, is_file: bool = False,
             mapped: bool = False) -> None:
        """Load `spelling` at `mountpoint`; `mapped` if it comes from a dictionary."""
        if self._taken(mountpoint, spelling):
            return
        started = time.monotonic()
        if uris.is_uri(spelling):
            self._add(mountpoint, load_uri(spelling, self.paste_global), spelling, started)
            return
        source, attribute = split_spelling(spelling, is_file)
        attribute = attribute or self.default_callable
        if self.factory and attribute and not attribute.endswith(")"):
            attribute += "()"
        module = import_source(source, is_file)
        mapping = getattr(module, "applications", None)
        if attribute or mapped or not is_mapping(mapping):
            found, name = evaluate(module, source, attribute)
            self._add(mountpoint, found, f"{source}:{name}", started)
            return
        for key, value in mapping.items():
            place = mountpoint.rstrip("/") + key
            name = f"{source}:applications[{key!r}]"
            if isinstance(value, str):
                self.load(place, value, mapped=True)
            elif not self._taken(place, name):
                self._add(place, value, name, started)
            started = time.monotonic()

    def _taken(self, mountpoint: str, spelling: str) -> bool:
        place = origin_of(mountpoint)
        if not any((app.host, app.script_name) == place for app in self.loaded):
            return False
        log.warning("mountpoint '%s' already configured, %s is skipped", mountpoint, spelling)
        return True

    def _add(self, mountpoint: str, found: Any, source: str, started: float) -> None:
        asgi = check_callable(found, source, self.interface)
        if self.loaded and self.loaded[0].asgi != asgi:
            kinds = ("ASGI", "WSGI") if asgi else ("WSGI", "ASGI")
            raise AppLoadError(f"{source} is a{'n' * asgi} {kinds[0]} application beside "
                               f"{kinds[1]} ones; a server serves only one kind: run a second "
                               "server")
        if asgi and is_double_callable(found):
            found = single_callable(found)
        host, name = origin_of(mountpoint)
        self.loaded.append(Application(
            len(self.loaded), mountpoint, name, found, source,
            round((time.monotonic() - started) * 1000), asgi=asgi, host=host))


def is_mapping(found: object) -> TypeGuard[dict[str, Any]]:
    """Whether a module's `applications` is uWSGI's dictionary of mountpoints."""
    return isinstance(found, dict) and bool(found) and all(
        isinstance(key, str) and (not key or key[0] == "/") for key in found)


def split_spelling(spelling: str, is_file: bool = False) -> tuple[str, str]:
    """Split `source:attribute`; the attribute is "" where none is named."""
    if is_file and os.path.exists(spelling):
        return spelling, ""
    source, _, attribute = spelling.partition(":")
    source, attribute = source.strip(), attribute.strip()
    if not source:
        raise AppLoadError(f"{spelling!r} names no module")
    return source, attribute


def import_source(source: str, is_file: bool = False) -> types.ModuleType:
    """Import a dotted module name, or a file (it has a slash or ends in `.py`).

    Raises:
        AppLoadError: with the traceback of the import.
    """
    is_file = is_file or looks_like_file(source)
    if is_file and not os.path.isfile(source):
        kind = "is a directory" if os.path.isdir(source) else "no such file"
        raise AppLoadError(f"{source}: {kind} (looked in {os.getcwd()})"
                           + suggest(os.path.basename(source), _neighbours(source)))
    try:
        return _import_file(source) if is_file else importlib.import_module(source)
    except (Exception, SystemExit) as error:
        raise not_imported(source, error) from error


def not_imported(source: str, error: BaseException) -> AppLoadError:
    """Return the `AppLoadError` for an error of an import."""
    return AppLoadError(_why(source, error), own_traceback(error))


def looks_like_file(source: str) -> bool:
    """Whether a source is a path, not a dotted name.

    `shop.wsgi` is a module of every Django project; it is a file only if there is a file of
    that name and no package `shop`.
    """
    if "/" in source or source.endswith(".py") or source.startswith("."):
        return True
    return (source.endswith(".wsgi") and os.path.isfile(source)
            and not os.path.isdir(source.partition(".")[0]))


def _import_file(path: str) -> types.ModuleType:
    """Import a file under uWSGI's name for it: uwsgi_file_ and its path, / and . as _, less .py.

    Its directory is appended to sys.path, so that it can import its neighbours as when
    Python runs it; uWSGI leaves that to `chdir` and `pythonpath`.
    """
    name = "uwsgi_file_" + path.removesuffix(".py").replace("/", "_").replace(".", "_")
    path = os.path.abspath(path)
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == path:
        return loaded
    directory = os.path.dirname(path)
    if directory not in sys.path and directory != os.getcwd():
        sys.path.append(directory)
    # importlib does not know the ending `.wsgi`, so the loader is given.
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return sys.modules[name]


def load_uri(spelling: str, variables: Mapping[str, str]) -> Any:
    """Build an application by PasteDeploy, with the variables of `paste-global`.

    Raises:
        AppLoadError: with the traceback of what failed inside it.
    """
    try:
        return uris.load(spelling, variables)
    except AppLoadError:
        raise
    except (Exception, SystemExit) as error:
        why, trace = _last_line(error), own_traceback(error)
        # Without frames, as for a missing section, the traceback only repeats the message.
        raise AppLoadError(f"{spelling} cannot be loaded: {why}",
                           trace if '  File "' in trace else "") from error


def evaluate(module: types.ModuleType, source: str, attribute: str) -> tuple[Any, str]:
    """Evaluate `attr.sub` or `factory(literals)` in `module`; return (value, as written).

    Other expressions are not allowed: this is configuration, not code.
    """
    if not attribute:
        for name in DEFAULT_NAMES:
            if hasattr(module, name):
                return getattr(module, name), name
        raise NoCallableError(f"{source} has no 'application' or 'app'"
                              + suggest_attribute(module, "application"))
    names, call = parse_attribute(source, attribute)
    found: Any = module
    for depth, name in enumerate(names):
        try:
            found = getattr(found, name)
        except AttributeError:
            owner = ":".join([source, ".".join(names[:depth])]) if depth else source
            raise NoCallableError(f"{owner} has no attribute {name!r}"
                                  + suggest_attribute(found, name)) from None
    if call is None:
        return found, attribute
    try:
        return found(*call[0], **call[1]), attribute
    except AppLoadError:
        raise
    except (Exception, SystemExit) as error:
        raise AppLoadError(f"{source}:{attribute} failed: {_last_line(error)}",
                           own_traceback(error)) from error


def parse_attribute(source: str, attribute: str) -> tuple[list[str], Call | None]:
    """Parse `attr.sub` or `factory("x", a=1)` into the names and the arguments of a call."""
    call: Call | None = None
    try:
        node: ast.expr = ast.parse(attribute, mode="eval").body
        if isinstance(node, ast.Call):
            call = ([ast.literal_eval(argument) for argument in node.args], {})
            for word in node.keywords:
                if word.arg is None:
                    raise ValueError("**")
                call[1][word.arg] = ast.literal_eval(word.value)
            node = node.func
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise ValueError("not a name")
    except (SyntaxError, ValueError, TypeError):
        raise AppLoadError(f"cannot understand {attribute!r} in '{source}:{attribute}': write "
                           "an attribute, or a factory called with literals") from None
    return [node.id, *names], call


def own_traceback(error: BaseException) -> str:
    """Format the traceback of `error` without the frames of the loading."""
    summary = tracebacks.without_frames(error, _is_loading)
    text = "".join(summary.format())
    # Without a frame of the application the header has nothing to introduce.
    lead = "Traceback (most recent call last):\n"
    if not summary.stack and text.startswith(lead):
        return text[len(lead):]
    return text


def _is_loading(path: str) -> bool:
    return path.startswith(LOADING_FRAMES) or any(part in path for part in LOADING_PARTS)


def _why(source: str, error: BaseException) -> str:
    """Say in one sentence why `source` did not import."""
    if isinstance(error, SyntaxError):
        return f"{source}: {error.msg} ({error.filename}, line {error.lineno})"
    if isinstance(error, SystemExit):
        return f"{source} called sys.exit({error.code!r}) while it was imported"
    if isinstance(error, ModuleNotFoundError) and error.name and (
            source == error.name or source.startswith(error.name + ".")):
        first, dot, _ = source.partition(".")
        hint = suggest(first, _neighbours("x")) if error.name == first else ""
        return (f"no module named {error.name!r} (looked in {os.getcwd()} and sys.path; see "
                f"`chdir` and `pythonpath`){hint}{_unused_environment()}")
    hint = _unused_environment() if isinstance(error, ModuleNotFoundError) else ""
    return f"{source} cannot be imported: {_last_line(error)}{hint}"


def _unused_environment() -> str:
    """Name the virtual environment of the shell if its packages cannot be imported."""
    path = os.environ.get("VIRTUAL_ENV", "")
    if not path or os.path.realpath(path) == os.path.realpath(sys.prefix) or any(
            one.startswith(path.rstrip("/") + "/") for one in sys.path):
        return ""
    return f"; VIRTUAL_ENV is {path}, whose packages are not used: add --virtualenv {path}"


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(type(error), error)[-1].strip()


def suggest_attribute(owner: object, name: str) -> str:
    """Suggest attributes of `owner` whose names resemble `name`."""
    public = {key: value for key, value in vars(owner).items()
              if not key.startswith("_") and not isinstance(value, types.ModuleType)
              } if hasattr(owner, "__dict__") else {}
    close = difflib.get_close_matches(name, public, n=3)
    close += [key for key, value in public.items() if "app" in key.lower()
              and key not in close and callable(value)][:3 - len(close)]
    return _did_you_mean(
        key + "()" if key.startswith(FACTORY_STARTS) and inspect.isfunction(public[key]) else key
        for key in close)


def suggest(name: str, names: Iterable[str]) -> str:
    """Suggest those of `names` that resemble `name`."""
    return _did_you_mean(difflib.get_close_matches(name, list(names), n=3))


def _did_you_mean(names: Iterable[str]) -> str:
    listed = " or ".join(repr(name) for name in names)
    return f"; did you mean {listed}?" if listed else ""


def _neighbours(path: str) -> list[str]:
    """List the files or, for a dotted name, the modules in the directory of `path`."""
    try:
        names = os.listdir(os.path.dirname(path) or ".")
    except OSError:
        return []
    if path.endswith(FILE_ENDINGS) or "/" in path:
        return [name for name in names if name.endswith(FILE_ENDINGS)]
    return [name.removesuffix(".py") for name in names if name.endswith(".py") or "." not in name]
