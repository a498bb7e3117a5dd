"""The requests to a server that runs a file of the corpus, and the expected differences.

A file is in `sites/` at the path that it has on a real machine. It names absolute paths
(/srv, /run, /var, ...) and ports, which are replaced for each run (see runner.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


class Any:
    """Equal to everything: for a value of ours that changes or does not matter."""

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "anything"


ANY = Any()
Differences = Mapping[str, tuple[object, str]]


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        line: method and target.
        headers: fields in addition to Host.
        body: a form, unless the headers have another type.
        variables: added or changed by the web server, over the uwsgi protocol.
    """

    line: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the request in a comparison."""
        return " ".join([self.line, *(f"{name}:{text}" for name, text in self.headers.items()),
                         *(f"{name}={text}" for name, text in self.variables.items())])


@dataclass(frozen=True)
class Entry:
    """A file of the corpus, and how it is run.

    Attributes:
        file: its path below `sites/`, with `:section` if it has several.
        asks: the requests by address: the path of a unix socket or a port, as in the file.
            Requests to a port use HTTP and to a unix socket the uwsgi protocol, unless the
            address begins with `uwsgi:` or `http:`.
        directory: where the server is started, below `sites/`.
        env: variables to set.
        arguments: of the command line, before the file.
        differs: the differences from uWSGI: by the name in the comparison, our value and the
            reason. A name with `*` is a pattern.
        refused: options that --check-config refuses, each with the reason why the file is in
            the corpus.
        status: the exit status if it does not serve; None if it does.
        alone: why uWSGI cannot run this file, or None.
        root: the user that it runs as, if it has to be started by root.
    """

    file: str
    asks: Mapping[str, tuple[Ask, ...]]
    directory: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    differs: Differences = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None
    alone: str | None = None
    root: str = ""

    @property
    def name(self) -> str:
        """Its name in tests and records."""
        return self.file.rpartition("/")[2].replace(".ini", "")

    def difference(self, name: str) -> tuple[object, str] | None:
        """Return the listed difference of a fact, see `differs`."""
        if name in self.differs:
            return self.differs[name]
        return next((listed for pattern, listed in self.differs.items()
                     if "*" in pattern and fnmatchcase(name, pattern)), None)


def get(*targets: str, **fields: str) -> tuple[Ask, ...]:
    """Return GETs, all with these fields (`X_Name` is X-Name)."""
    headers = {name.replace("_", "-"): text for name, text in fields.items()}
    return tuple(Ask(f"GET {target}", headers) for target in targets)


def through(target: str, **variables: str) -> Ask:
    """Return a GET for which the web server sets variables."""
    return Ask(f"GET {target}", variables=variables)


def post(target: str, body: bytes, kind: str = "application/x-www-form-urlencoded") -> Ask:
    """Return a POST."""
    return Ask(f"POST {target}", {"Content-Type": kind}, body)
