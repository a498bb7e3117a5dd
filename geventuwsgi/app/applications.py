"""The loaded applications, and which of them a request is for.

uWSGI finds an application by SCRIPT_NAME, or with `vhost` by host and SCRIPT_NAME;
`manage-script-name` derives SCRIPT_NAME from the path.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..errors import AppLoadError


class Application(NamedTuple):
    """One loaded application.

    Attributes:
        id: its number, from 0 in the order of loading.
        mountpoint: as written; "" for the one without a path.
        script_name: its SCRIPT_NAME: the mountpoint without a trailing slash, as WSGI's
            latin-1 text of its UTF-8 bytes.
        callable: the WSGI or ASGI callable.
        source: what it was loaded from, as written.
        milliseconds: how long loading took.
        default: it gets the requests for no mountpoint.
        asgi: it is an ASGI application, else a WSGI one.
        host: its host with `vhost`, in lower case; "" = any.
    """

    id: int
    mountpoint: str
    script_name: str
    callable: Callable[..., Any]
    source: str
    milliseconds: int
    default: bool = False
    asgi: bool = False
    host: str = ""

    def ready_line(self, pid: int) -> str:
        """Return uWSGI's log line for a loaded application; log scrapers look for it."""
        kind = "ASGI" if self.asgi else "WSGI"
        return (f"{kind} app {self.id} (mountpoint='{self.mountpoint}') ready in "
                f"{self.milliseconds} ms pid: {pid}{' (default app)' if self.default else ''}")


def origin_of(mountpoint: str) -> tuple[str, str]:
    """Split `[HOST|]/path` into the host and the SCRIPT_NAME of the path: no trailing slash,
    latin-1."""
    host, bar, path = mountpoint.rpartition("|")
    return (host.lower() if bar else "",
            path.rstrip("/").encode("utf-8", "surrogateescape").decode("latin-1"))


class Mounts:
    """The applications of one host, by their paths.

    Args:
        applications: those of the host.
        default: the one for requests that match no mountpoint, or None.
    """

    def __init__(self, applications: Iterable[Application], default: Application | None) -> None:
        found = list(applications)
        self.default = default
        self._by_name = {app.script_name: app for app in reversed(found)}
        # nginx's configuration may say `uwsgi_param SCRIPT_NAME /app/;` or `/`.
        for app in found:
            self._by_name.setdefault(app.script_name + "/", app)
        self._prefixes = [(app.script_name, app.script_name + "/", app)
                          for app in sorted(found, key=lambda app: -len(app.script_name))
                          if app.script_name]

    def find(self, script_name: str) -> Application | None:
        """Return the application mounted at `script_name` exactly, else the default one."""
        return self._by_name.get(script_name, self.default)

    def split(self, path_info: str) -> tuple[Application | None, str, str]:
        """Return (application, SCRIPT_NAME, PATH_INFO) by the longest mountpoint that starts
        `path_info` and ends at a "/" or its end (uWSGI's manage-script-name).

        Without a match SCRIPT_NAME is "", as in uWSGI. uWSGI 2.0 makes an exception of a
        PATH_INFO of one character; this does not.
        """
        for name, slashed, app in self._prefixes:
            if path_info.startswith(slashed) or path_info == name:
                return app, name, path_info[len(name):]
        return self._by_name.get("", self.default), "", path_info


class Applications:
    """The loaded applications and their mountpoints.

    Args:
        loaded: the applications, by their ids.
        manage_script_name: split SCRIPT_NAME off PATH_INFO by the mountpoints.
        ignore_script_name: do not choose by the SCRIPT_NAME of a request.
        no_default: requests for no mountpoint find no application.
        virtual_host: the variable that holds the host, for applications that have one.
        failures: the errors of those that did not load (`need_app=False`).

    Attributes:
        all: the applications; the index is the id.
        default: the first without a mountpoint, else the first loaded; None if none was.
        only: the application of all requests, None if the choice depends on the request.
        asgi: they are ASGI applications; a server serves only one kind.
    """

    def __init__(self, loaded: Iterable[Application] = (), *, manage_script_name: bool = False,
                 ignore_script_name: bool = False, no_default: bool = False,
                 virtual_host: str = "", failures: Iterable[AppLoadError] = ()) -> None:
        found = list(loaded)
        anywhere = [app.id for app in found if not app.host]
        if anywhere and not no_default:
            first = next((one for one in anywhere if not found[one].script_name), anywhere[0])
            found[first] = found[first]._replace(default=True)
        self._options: dict[str, Any] = {
            "manage_script_name": manage_script_name, "ignore_script_name": ignore_script_name,
            "no_default": no_default, "virtual_host": virtual_host, "failures": tuple(failures)}
        self.all = tuple(found)
        self.default = next((app for app in found if app.default), None)
        self.asgi = any(app.asgi for app in found)
        self.manage_script_name = manage_script_name
        self.failures = self._options["failures"]
        self._ignore = ignore_script_name
        self._virtual_host = virtual_host
        self._mounts = Mounts([found[one] for one in anywhere], self.default)
        self._hosts = {host: self._of(host) for host in {app.host for app in found if app.host}}
        self.only: Application | None = None
        if not (manage_script_name or self._hosts):
            if ignore_script_name:
                self.only = self._mounts.find("")
            elif len(found) == 1:
                self.only = self.default

    def _of(self, host: str) -> Mounts:
        found = [app for app in self.all if app.host == host]
        return Mounts(found, next((app for app in found if not app.script_name), self.default))

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Application]:
        return iter(self.all)

    @property
    def loading_seconds(self) -> int:
        """How long loading all of them took."""
        return sum(app.milliseconds for app in self.all) // 1000

    def place(self, environ: dict[str, Any]) -> None:
        """With manage-script-name, set SCRIPT_NAME and PATH_INFO of a request by its path.
        As in uWSGI this comes before everything else that reads them."""
        if self.manage_script_name:
            _, environ["SCRIPT_NAME"], environ["PATH_INFO"] = self._mounts_for(environ).split(
                environ["PATH_INFO"])

    def choose(self, environ: dict[str, Any]) -> Application | None:
        """Find the application of a request by its SCRIPT_NAME, after `place`."""
        by_name = self.manage_script_name or not self._ignore
        return self._mounts_for(environ).find(environ["SCRIPT_NAME"] if by_name else "")

    def _mounts_for(self, environ: dict[str, Any]) -> Mounts:
        if not self._hosts:
            return self._mounts
        # uWSGI looks for the host as sent; without the port is an extension.
        host = environ.get(self._virtual_host, "").lower()
        return self._hosts.get(host) or self._hosts.get(without_port(host)) or self._mounts

    def split(self, path_info: str) -> tuple[Application | None, str, str]:
        """Split a path by the mountpoints without a host, as `Mounts.split`."""
        return self._mounts.split(path_info)

    def wrapped(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> "Applications":
        """Return the same applications with `wrap` applied to each callable."""
        return Applications([app._replace(callable=wrap(app.callable)) for app in self.all],
                            **self._options)

    def ready_lines(self, pid: int) -> list[str]:
        """Return the `ready_line` of each application."""
        return [app.ready_line(pid) for app in self.all]


def without_port(host: str) -> str:
    """Return the host of `host:port`; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host
