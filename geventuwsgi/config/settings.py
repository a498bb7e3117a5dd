"""The resolved configuration: frozen, each value with its origin, serializable as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import ConfigError
from geventuwsgi.privileges import Identity


class Settings:
    """All options, as attributes: `settings.http_socket` is the option `http-socket`.

    Further attributes:

    - `listeners`: tuple of (address as written, protocol), in the order written. Protocols are
      'http', 'https', 'uwsgi', and one for each other purpose. Those of workers and routers are
      missing only if sockets are inherited (`LISTEN_FDS`).
    - `owners`: for each listener the role that accepts from it: 'worker', 'router' or 'monitor'.
    - `proxied`: for each listener whether `http-enable-proxy-protocol` applies to it.
    - `router`, `standalone`: whether there is a router, and whether there is only a router.
    - `redirect_port`: the port part of the location to which HTTP is redirected.
    - `tls`: for each listener its `net.tls_config.TlsConfig`, None without HTTPS.
    - `tls_bind`: that of `certfile`, for inherited sockets; or None.
    - `inherits`: whether sockets are inherited (`LISTEN_FDS` is set).
    - `files`: the configuration files, in the order read.
    - `dialect`: whose defaults apply: 'uwsgi', 'geventuwsgi' or 'argv'.
    - `warnings`: each `place: option: message`.
    - `refusals`: for --show-config, the errors of lines that are left out.
    - `notes`: further lines for the startup log.
    - `head_limit`: maximum size of a request head in bytes.
    - `worker_timeout_action`: 'replace', or 'log' for a stuck worker that is only logged.
    - `hooks`, `touch_hooks`, `bindings`, `daemons`, `crons`: see `resolve.hooks`.
    - `early_variables`, `late_variables`: of early-envdir and envdir, to be set before and
      after `env`, as (name, value), where None removes.
    - `given`: every line that was read, as (name, text or None), for the `uwsgi` module.
    """

    __slots__ = ("_values", "_origins")

    def __init__(self, values: Mapping[str, object], origins: Mapping[str, Origin]) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_origins", dict(origins))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            try:
                return self._values[name]
            except KeyError:
                pass
        raise AttributeError(f"there is no option {name.replace('_', '-')!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("settings are frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("settings are frozen")

    def __reduce__(self) -> tuple[object, ...]:
        return Settings, (self._values, self._origins)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return bool(self._values == other._values and self._origins == other._origins)

    __hash__ = None  # type: ignore[assignment]

    def origin(self, name: str) -> Origin:
        """Return where the value of an option was set.

        Args:
            name: the option's first name, or its attribute.
        """
        attribute = name.replace("-", "_")
        origin: Origin = self._origins.get(attribute) or self._origins.get(
            attribute + "_", Origin())
        return origin

    def replace(self, **changes: object) -> "Settings":
        """Return a copy with other values and the same origins."""
        unknown = changes.keys() - self._values.keys()
        if unknown:
            raise AttributeError(f"there is no option {sorted(unknown)[0]!r}")
        return Settings({**self._values, **changes}, self._origins)

    def to_json(self) -> str:
        """Return everything as JSON, for processes that do not read the files again."""
        origins = {name: [o.kind, o.file, o.line, o.option, o.section]
                   for name, o in self._origins.items()}
        return json.dumps({"values": self._values, "origins": origins})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings that `to_json` wrote."""
        tree = json.loads(text)
        values = {name: _tupled(value) for name, value in tree["values"].items()}
        return cls(values, {name: Origin(*parts) for name, parts in tree["origins"].items()})

    @property
    def slots(self) -> int:
        """The number of requests that a WSGI worker runs at once: greenlets or native threads."""
        slots: int = self.gevent or self.threads
        return slots

    @property
    def identity(self) -> Identity:
        """The user and groups of the roles.

        Raises:
            ConfigError: the user or group does not exist.
        """
        return Identity(self.uid, self.gid, self.add_gid, initgroups=not self.no_initgroups)

    @property
    def lacks_application(self) -> bool:
        """Whether an application is needed and none is set."""
        named = (self.application or self.asgi or self.module or self.wsgi_file or self.paste
                 or self.mount)
        return bool(self.need_app and not named and not self.standalone)

    def require_application(self) -> None:
        """Refuse settings without an application.

        Raises:
            ConfigError: with how to set one.
        """
        if self.lacks_application:
            raise ConfigError("no application is named: write module = package.module:name, "
                              "or give package.module:name on the command line",
                              file=self.files[0] if self.files else None)

    def require_sockets(self) -> None:
        """Refuse settings without a socket.

        Raises:
            ConfigError: with how to set one.
        """
        if not {"worker", "router"} & set(self.owners) and not self.inherits:
            raise ConfigError("no socket is named: write http-socket = 127.0.0.1:8000, or "
                              "socket = /run/app.sock for nginx's uwsgi_pass",
                              file=self.files[0] if self.files else None)


def _tupled(value: object) -> object:
    """Convert the lists of JSON to tuples."""
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
