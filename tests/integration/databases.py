"""PostgreSQL, Redis and MariaDB for one run of the tests: each on a free port of 127.0.0.1, with
its data in a temporary directory, without root."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.harness import PATH, Program, free_port, installed, missing

# Debian's PostgreSQL is not on PATH.
POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@contextlib.contextmanager
def postgresql(directory: Path) -> Iterator[int]:
    """Run a PostgreSQL that trusts its user `postgres`; yields its port."""
    places = ":".join(map(str, POSTGRESQL)) + ":" + PATH
    programs = [shutil.which(name, path=places) for name in ("initdb", "postgres")]
    if None in programs:
        missing("PostgreSQL is not installed")
    initdb, postgres = map(str, programs)
    port, user = free_port(), as_user("postgres", directory)
    subprocess.run([initdb, "-D", directory / "data", "-U", "postgres", "-A", "trust", "-N",
                    "-E", "UTF8", "--no-locale"], check=True, capture_output=True, **user)
    with Program(postgres, "-D", str(directory / "data"), "-p", str(port), "-k", str(directory),
                 "-F", "-c", "listen_addresses=127.0.0.1", **user) as server:
        server.wait_for("database system is ready to accept connections")
        yield port
        server.stop(signal.SIGINT)  # SIGTERM would wait for its clients


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[int]:
    """Run a Redis that keeps nothing; yields its port."""
    port = free_port()
    with Program(installed("redis-server"), "--port", str(port), "--bind", "127.0.0.1",
                 "--dir", str(directory), "--save", "", "--appendonly", "no") as server:
        server.wait_for("Ready to accept connections")
        yield port
        server.stop()


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[int]:
    """Run a MariaDB that takes everyone for root; yields its port."""
    install, mariadbd = installed("mariadb-install-db"), installed("mariadbd")
    port = free_port()
    options = ["--no-defaults", f"--datadir={directory / 'data'}", "--skip-log-bin",
               "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M"]
    if os.getuid() == 0:
        options.append("--user=root")
    subprocess.run([install, *options, "--skip-test-db"], check=True, capture_output=True)
    with Program(mariadbd, *options, "--bind-address=127.0.0.1", f"--port={port}",
                 f"--socket={directory / 'mariadb.sock'}", "--skip-grant-tables",
                 "--skip-networking=0") as server:
        server.wait_for("ready for connections")
        yield port
        server.stop()


def as_user(name: str, directory: Path) -> dict[str, object]:
    """Return arguments of `Popen` that run a program as a user, if this is root, and give it the
    directory."""
    if os.getuid() != 0:
        return {}
    shutil.chown(directory, name, name)
    return {"user": name, "group": name, "extra_groups": (), "cwd": directory}
