"""What is asked of a server that was started with a file of the corpus, and what may differ.

A file stands in `sites/`, at the place where people have it; it names absolute paths
(/srv, /run, /var, ...) and ports, which are moved for each run (see runner.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


class Any:
    """Equal to everything: what our answer is does not matter, or changes."""

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
        headers: fields beside Host.
        body: of a form, unless the headers say what it is.
        variables: what the web server adds or changes, over the uwsgi protocol.
    """

    line: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How answers to it are called."""
        return " ".join([self.line, *(f"{name}:{text}" for name, text in self.headers.items()),
                         *(f"{name}={text}" for name, text in self.variables.items())])


@dataclass(frozen=True)
class Entry:
    """A file and what is done with it.

    Attributes:
        file: its path below `sites/`, with `:section` where one is chosen.
        asks: the requests by the address they go to: a path of a unix socket, or a port,
            as the file has it. A leading `http:` says that HTTP is spoken there; TCP
            ports take HTTP, unix sockets the uwsgi protocol unless `uwsgi:` or `http:` says
            otherwise.
        directory: where the server is started, below `sites/`.
        env: variables that are set.
        arguments: of the command line, before the file.
        differs: where our answer is not uWSGI's: what, by the name that a comparison gives
            it, our value, and the reason. A name with `*` is a pattern.
        refused: options that --check-config refuses, each with the reason why the file
            stands here all the same.
        status: with what exit status it ends instead of serving; None is that it serves.
        alone: why uWSGI is not asked, if it cannot run this file.
        root: the account that it runs as, where it needs root for that.
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
        """How tests and records call it."""
        return self.file.rpartition("/")[2].replace(".ini", "")

    def difference(self, name: str) -> tuple[object, str] | None:
        """Return what is listed for a fact, see `differs`."""
        if name in self.differs:
            return self.differs[name]
        return next((listed for pattern, listed in self.differs.items()
                     if "*" in pattern and fnmatchcase(name, pattern)), None)


def get(*targets: str, **fields: str) -> tuple[Ask, ...]:
    """Return GETs, all with these fields (`X_Name` is X-Name)."""
    headers = {name.replace("_", "-"): text for name, text in fields.items()}
    return tuple(Ask(f"GET {target}", headers) for target in targets)


def behind(target: str, **variables: str) -> Ask:
    """Return a GET for which the web server sets variables."""
    return Ask(f"GET {target}", variables=variables)


def post(target: str, body: bytes, kind: str = "application/x-www-form-urlencoded") -> Ask:
    """Return a POST."""
    return Ask(f"POST {target}", {"Content-Type": kind}, body)
