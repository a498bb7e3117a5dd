"""The cost of a router, compared with uWSGI's and nginx: alone with one node, and with workers.

The node is the same for all three: one of our workers on a unix socket with the uwsgi protocol,
which needs a connection for each request. With their own workers both routers use their fastest
way: uWSGI its own socket, ours persistent connections.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import peers
from benchmarks.peers import GEVENTUWSGI, SCRIPTS, Server, Wanted
from benchmarks.scenarios import OURS, Limit, Row, Run, _wrk, cpu_per_request

Command = Callable[[Wanted], list[str]]
ABLE = {OURS, "uwsgi"}
NGINX = """daemon off; pid {dir}/nginx.pid; error_log stderr warn; worker_processes 1;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
keepalive_requests 100000000; include /etc/nginx/uwsgi_params;
server {{ listen 127.0.0.1:{port}; location / {{ uwsgi_pass unix:{node}; }} }} }}
"""


def _ours(node: str) -> Command:
    return lambda wanted: [*GEVENTUWSGI, "--http", f"127.0.0.1:{wanted.port}", "--http-to", node]


def _uwsgi(node: str) -> Command:
    return lambda wanted: [str(SCRIPTS / "pyuwsgi"), "--master", "--die-on-term", "--http",
                           f"127.0.0.1:{wanted.port}", "--http-to", node,
                           "--http-keepalive=75", "--listen", "1024"]


def _nginx(node: str, directory: str) -> Command:
    def command(wanted: Wanted) -> list[str]:
        file = Path(directory) / "nginx.conf"
        file.write_text(NGINX.format(dir=directory, port=wanted.port, node=node))
        return ["nginx", "-e", "stderr", "-c", str(file)]
    return command


def _ours_whole(wanted: Wanted) -> list[str]:
    return [*GEVENTUWSGI, wanted.application, "--http", f"127.0.0.1:{wanted.port}",
            "--http-router", "--disable-logging"]


def _uwsgi_whole(wanted: Wanted) -> list[str]:
    return [str(SCRIPTS / "pyuwsgi"), "--http", f"127.0.0.1:{wanted.port}", "--master",
            "--http-keepalive=75", "--module", wanted.application, "--gevent", "1000",
            "--gevent-monkey-patch", "--need-app", "--die-on-term", "--disable-logging",
            "--listen", "1024"]


def _measure(run: Run, commands: dict[str, Command]) -> dict[str, float]:
    """Measure in turns and return the best round of each, as `scenarios.compare` does."""
    best: dict[str, float] = {}
    load = _wrk()
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        for name, command in commands.items():
            try:
                servers.append(stack.enter_context(
                    peers.running(name, Wanted("benchmarks.apps:hello"), command)))
            except (RuntimeError, OSError) as error:
                run.notes.append(str(error))
        for server in servers:
            load(server, min(1.0, run.seconds))
        for _ in range(run.rounds):
            for server in servers:
                value = cpu_per_request(server, load, run.seconds)
                best[server.name] = min(value, best.get(server.name, value))
    return best


def router(run: Run) -> Iterator[Row]:
    """Hello through a router: the CPU of the router, then of router and worker together."""
    with tempfile.TemporaryDirectory() as directory:
        node = f"{directory}/node.sock"
        Path(directory).chmod(0o755)  # nginx drops root
        with peers.running(OURS, Wanted("benchmarks.apps:hello"), lambda wanted: [
                *GEVENTUWSGI, wanted.application, "--uwsgi-socket", node, "--chmod-socket=666",
                "--bind", f"127.0.0.1:{wanted.port}", "--disable-logging"]):
            values = _measure(run, {name: command for name, command in (
                (OURS, _ours(node)), ("uwsgi", _uwsgi(node)),
                ("nginx", _nginx(node, directory))) if name in (*run.peers, "nginx")})
    if "nginx" in values:
        run.notes.append(f"router alone, nginx in the same run: {values['nginx']:.1f} us/request")
    yield Row("router alone, one uwsgi node", "us/request",
              {name: value for name, value in values.items() if name in ABLE})
    whole = {OURS: _ours_whole, "uwsgi": _uwsgi_whole}
    yield Row("router and worker", "us/request",
              _measure(run, {name: whole[name] for name in run.among(ABLE)}),
              (Limit(0.6, "uwsgi"),))
