"""The house stands: no import runs upward or in a circle, and the wings keep their rules."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "geventuwsgi"

# A wing is a package, or a file that is alone in its wing. Bare `geventuwsgi` holds the
# version and imports nothing of ours.
FLOORS = {
    "geventuwsgi": 0,
    "errors": 1, "log": 1, "ipc": 1, "api": 1,
    "protocol": 2, "net": 2,
    "app": 3, "config": 3, "system": 3,
    "workers": 4, "router": 4, "master": 4, "prefork": 4, "paste": 4,
    "boot": 5, "flask": 5, "django": 5,
    "cli": 6, "__main__": 7,
}
SAME_WING: dict[str, str] = {}
# The one arrow that runs up: what `from geventuwsgi import serve` gives, loaded when it is used.
DOORS = {("geventuwsgi", "geventuwsgi.boot.embedded")}
IMPORTS_LATE = {"boot"}  # it plays roles, and the master must not load what a worker needs
WITHOUT_GEVENT = ("errors", "protocol", "net", "log", "ipc", "config", "system", "master",
                  "prefork", "boot", "cli")
# Of a wing of the master, but a worker's.
BLOCKS_ON_THE_HUB = {f"geventuwsgi.net.{room}"
                     for room in ("stream", "tls_stream")}
IO_MODULES = {"asyncio", "concurrent", "ctypes", "fcntl", "gevent", "greenlet", "io", "logging",
              "mmap", "multiprocessing", "os", "pathlib", "queue", "select", "selectors", "signal",
              "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "time"}

MODULES = {".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"):
           path for path in sorted(HOUSE.rglob("*.py"))}


def wing_of(module: str) -> str:
    parts = module.split(".")
    wing = parts[1] if len(parts) > 1 else parts[0]
    return SAME_WING.get(wing, wing)


def imports(module: str) -> list[tuple[str, int, bool]]:
    """List (imported name, line, inside a function) of one of our modules."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, late: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            source = ".".join(above + ([node.module] if node.module else []))
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.append((inner if inner in MODULES else source, node.lineno, late))
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, late)

    visit(ast.parse(path.read_text()), False)
    return found


def ours(name: str) -> bool:
    return name.split(".")[0] == "geventuwsgi"


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_downward(module: str) -> None:
    wing = wing_of(module)
    assert wing in FLOORS, f"{module} stands on no floor"
    for name, line, late in imports(module):
        if not ours(name) or (module, name) in DOORS and late:
            continue
        target = wing_of(name)
        assert target == wing or FLOORS[target] < FLOORS[wing], (
            f"{MODULES[module]}:{line}: {wing} (floor {FLOORS[wing]}) imports {name}")
        assert not late or wing in IMPORTS_LATE, f"{MODULES[module]}:{line}: late import of {name}"


def test_no_circle() -> None:
    graph = {module: {name for name, _, _ in imports(module)
                      if ours(name) and (module, name) not in DOORS} - {module}
             for module in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [name for name in MODULES if wing_of(name) == "protocol"])
def test_protocols_do_no_io(module: str) -> None:
    for name, line, _ in imports(module):
        top = name.split(".")[0]
        assert ours(name) or top in sys.stdlib_module_names, f"{module}:{line}: {name}"
        assert top not in IO_MODULES and name not in ("http.client", "http.server"), (
            f"{module}:{line}: {name}")


def test_the_front_door_is_cheap() -> None:
    """`import geventuwsgi` loads none of our rooms, and neither does looking at `serve`."""
    script = ("import sys, geventuwsgi; geventuwsgi.serve\n"
              "print([name for name in sys.modules if name.split('.')[0] == 'gevent' or "
              "name.startswith('geventuwsgi.')])")
    result = subprocess.run([sys.executable, "-c", script], cwd=HOUSE.parent,
                            capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_the_master_needs_no_gevent() -> None:
    """What the master loads, and what others may load for its own sake, imports without gevent."""
    names = [name for name in MODULES
             if wing_of(name) in WITHOUT_GEVENT and not name.endswith("__main__")
             and name not in BLOCKS_ON_THE_HUB]
    script = ("import sys, importlib\n"
              "sys.modules['gevent'] = sys.modules['greenlet'] = None\n"
              f"for name in {names!r}: importlib.import_module(name)\n")
    result = subprocess.run([sys.executable, "-c", script], cwd=HOUSE.parent,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
