"""The rules of the package's structure, names and texts. Each failure says what to do.

The sources are parsed once; everything here together runs in under three seconds.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "geventuwsgi"

# A part is a folder of the package, or a file beside them. Bare `geventuwsgi` holds the version.
FLOORS = {
    "__main__": 7,
    "cli": 6,
    "boot": 5, "flask": 5, "django": 5,
    "workers": 4, "router": 4, "monitor": 4, "master": 4, "prefork": 4, "paste": 4,
    "app": 3, "config": 3, "system": 3,
    "protocol": 2, "net": 2, "privileges": 2,
    "log": 1, "ipc": 1, "api": 1, "errors": 1,
    "rights": 0, "geventuwsgi": 0,
}
# The one import that runs up: `from geventuwsgi import serve`, loaded when it is used.
UPWARD = {("geventuwsgi", "geventuwsgi.boot.embedded")}
# Folders within a part: each imports only those after it.
LAYERS = {
    "geventuwsgi.config": ("load", "commands", "resolve", "request_log", "settings", "sources",
                           "options", "values"),
    "geventuwsgi.workers": ("wsgi asgi", "settings", "service", "limits", "messages",
                            "hangups"),
    "geventuwsgi.app": ("rules static", ""),    # its folders, then its modules
}
# What the rest of the package imports of config. Values are plain data.
CONFIG_FOR_ALL = ("geventuwsgi.config.settings", "geventuwsgi.config.request_log",
                  "geventuwsgi.config.resolve", "geventuwsgi.config.values")
CONFIG_USERS = ("boot", "cli", "paste", "flask", "django")  # these start a server
# Modules that read settings; all others take plain arguments.
READ_SETTINGS = ("boot", "cli", "paste", "flask", "django", "config",
                 "workers.settings", "workers.wsgi.worker", "workers.wsgi.settings",
                 "workers.asgi.bridge", "router.gateway", "router.nodes", "monitor.process",
                 "master.attached.announcer")
IMPORTS_LATE = {"boot"}  # the master must not load what a worker needs
WITHOUT_GEVENT = ("errors", "rights", "privileges", "protocol", "net", "log", "ipc", "config",
                  "system", "master", "prefork", "boot", "cli")
# Bytes know only ASCII.
DIGITS_OF_BYTES = ("master.console_client", "master.reports", "config.sources.argv",
                   "system.pidfile")
BLOCKS_ON_THE_HUB = {"geventuwsgi.net.stream", "geventuwsgi.net.tls_stream",
                     "geventuwsgi.net.report_server"}
# A configuration only describes sockets (`socket` itself has gethostname).
NO_SOCKETS = {"config": {"socketserver", "ssl", "selectors", "asyncio", "gevent"}}
IO_MODULES = {"asyncio", "concurrent", "ctypes", "fcntl", "gevent", "greenlet", "io", "logging",
              "mmap", "multiprocessing", "os", "pathlib", "queue", "select", "selectors", "signal",
              "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "time"}

SHORTEST, LONGEST, LONGEST_FUNCTION, MOST_FILES = 40, 600, 60, 20
# Shorter than SHORTEST on purpose: entry points, and one small idea with several users.
SHORT = {"__main__", "log.timestamps", "config.sources.environment", "net.deadlines",
         "workers.hangups",
         "django.apps", "django.management.commands.rungeventuwsgi"}
# A module name that stands twice is one topic in several layers.
TOPICS = {
    "acceptor", "attached", "connection", "cron", "daemons", "development", "environment",
    "exchange", "from_router", "harakiri", "hooks", "http", "limits", "paste", "record",
    "response", "router", "rules", "service", "settings", "sockets", "stacks", "tls", "uwsgi"}
# Words that say what a person does instead of what the code does, with those to use.
WORDS = {
    "house": "package, project", "room": "module (or: capacity)", "rooms": "modules",
    "wing": "package, part", "wings": "packages", "scribe": "log collector",
    "errand": "hook run", "errands": "hook runs", "verdict": "exit status, outcome",
    "worn": "due for replacement", "bury": "log the exit", "buried": "ended",
    "burial": "exit", "census": "stacks", "mishap": "exception", "mishaps": "exceptions",
    "tend": "poll", "desert": "client gone", "deserted": "client gone", "company": "attached",
    "staffing": "roles", "proving": "preflight", "playing": "worker process",
    "told": "logged, reported, parsed", "tell": "log, report, show", "tells": "logs, reports",
    "mercy": "grace", "nobody": "none, no process", "somebody": "a process",
    "everybody": "all workers", "furnish": "create files", "employ": "create",
    "greeted": "handshake done", "farewell": "close notify", "offspring": "children",
    "obey": "dispatch", "visit": "rule context", "visits": "rule contexts"}
# The Linux user, and the options and log lines of uWSGI: words that tests may say, and the texts
# that have one in the package.
IN_TESTS = {"nobody", "buried", "mercy"}
ALLOWED = re.compile(
    r"buried after|NO MERCY|(worker-|mule-|spooler-)?reload-mercy|(worker_)?reload_mercy"
    r"|user[ =]+nobody|nobody[:\"]|\.tell\(|def tell\(")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def source(module: str) -> str:
    return MODULES[module].read_text()


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module))


def part_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def inside(module: str, prefixes: tuple[str, ...]) -> bool:
    short = module.removeprefix("geventuwsgi.")
    return any(short == prefix or short.startswith(prefix + ".") for prefix in prefixes)


@cache
def imports(module: str) -> tuple[tuple[str, int, bool], ...]:
    """List (imported name, line, inside a function) of one of our modules."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, late: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append((inner if inner in MODULES else base, node.lineno, late))
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr):
                visit(child, late)

    visit(tree(module), False)
    return tuple(found)


def ours() -> Iterator[tuple[str, str, str, bool]]:
    """Yield (module, imported module of ours, place, inside a function)."""
    for module in MODULES:
        for name, line, late in imports(module):
            if name.split(".")[0] == "geventuwsgi" and not (
                    late and (module, name) in UPWARD):
                yield module, name, f"{MODULES[module]}:{line}", late


def failing(problems: list[str], rule: str) -> None:
    assert not problems, "\n".join([rule, *problems])


# Imports.

def test_every_part_is_on_a_floor() -> None:
    there = {part_of(module) for module in MODULES}
    failing([f"geventuwsgi/{name}" for name in sorted(there ^ FLOORS.keys())],
            "Folders and FLOORS differ: give a new one its floor here, in CONTRIBUTING.rst and in "
            "geventuwsgi/__init__.py, or remove the row of one that is gone.")


def test_imports_run_downward() -> None:
    failing([f"{place}: {part_of(module)} (floor {FLOORS[part_of(module)]}) imports {name} "
             f"(floor {FLOORS[part_of(name)]})" for module, name, place, _ in ours()
             if part_of(name) != part_of(module)
             and FLOORS[part_of(name)] >= FLOORS[part_of(module)]],
            "A module imports only from floors below its own and from its own folder. Move what "
            "both need to a lower floor, or pass it as an argument.")


def test_imports_inside_functions() -> None:
    failing([f"{place}: imports {name} inside a function" for module, name, place, late in ours()
             if late and part_of(module) not in IMPORTS_LATE],
            f"Only {', '.join(IMPORTS_LATE)} may import inside a function: import at the top.")


def test_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, name, _, _ in ours():
        graph[module].add(name)
    try:
        graphlib.TopologicalSorter(
            {module: names - {module} for module, names in graph.items()}).prepare()
    except graphlib.CycleError as error:
        pytest.fail("These modules import each other in a circle; move what two of them share "
                    f"to a third one: {' -> '.join(error.args[1])}")


def rank(module: str, package: str, layers: tuple[str, ...]) -> int | None:
    """Return the layer of a module within its package; None for the package itself."""
    if not module.startswith(package + "."):
        return None
    head = module[len(package) + 1:].split(".")[0]
    for number, layer in enumerate(layers):
        if head in layer.split():
            return number
    return layers.index("") if "" in layers else None


def test_layers_within_a_part() -> None:
    problems = []
    for package, layers in LAYERS.items():
        for module, name, place, _ in ours():
            here, there = rank(module, package, layers), rank(name, package, layers)
            if here is not None and there is not None and there < here:
                problems.append(f"{place}: {module} imports {name}")
    for module, name, place, _ in ours():
        for one, other in (("wsgi", "asgi"), ("asgi", "wsgi")):
            if inside(module, (f"workers.{one}",)) and inside(name, (f"workers.{other}",)):
                problems.append(f"{place}: {module} imports {name}")
    failing(problems, f"Within a part a layer imports only those after it {LAYERS}; the two kinds "
                      "of workers never import each other: what both need is in workers/.")


def test_who_uses_config() -> None:
    failing([f"{place}: {module} imports {name}" for module, name, place, _ in ours()
             if part_of(name) == "config" and part_of(module) != "config"
             and part_of(module) not in CONFIG_USERS and not name.startswith(CONFIG_FOR_ALL)],
            "Outside of the parts that start a server only settings and values are used.")
    failing([f"{place}: {module}" for module, name, place, _ in ours()
             if name == "geventuwsgi.config.settings" and not inside(module, READ_SETTINGS)],
            "Only entry modules read Settings; pass plain values to this one, or list a new "
            "entry module in READ_SETTINGS.")


def test_protocols_do_no_io() -> None:
    problems = []
    for module in MODULES:
        for name, line, _ in imports(module):
            top = name.split(".")[0]
            if part_of(module) == "protocol" and top != "geventuwsgi" and (
                    top not in sys.stdlib_module_names or top in IO_MODULES
                    or name in ("http.client", "http.server")):
                problems.append(f"{MODULES[module]}:{line}: imports {name}")
            if top in NO_SOCKETS.get(part_of(module), ()):
                problems.append(f"{MODULES[module]}:{line}: imports {name}")
    failing(problems, "protocol/ owns no socket, clock, log or file: bytes, limits and time come "
                      "in as arguments. config/ opens nothing.")


def test_importing_the_package_is_cheap() -> None:
    """`import geventuwsgi` loads none of our modules, and neither does looking at `serve`."""
    script = ("import sys, geventuwsgi; geventuwsgi.serve\n"
              "print([name for name in sys.modules if name.split('.')[0] == 'gevent' or "
              "name.startswith('geventuwsgi.')])")
    result = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent,
                            capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_the_master_needs_no_gevent() -> None:
    """What the master loads, and what others may load for its sake, imports without gevent."""
    names = [name for name in MODULES if part_of(name) in WITHOUT_GEVENT
             and not name.endswith("__main__") and name not in BLOCKS_ON_THE_HUB]
    script = ("import sys, importlib\n"
              "sys.modules['gevent'] = sys.modules['greenlet'] = None\n"
              f"for name in {names!r}: importlib.import_module(name)\n")
    result = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent,
                            capture_output=True, text=True)
    assert result.returncode == 0, "the master loads no gevent:\n" + result.stderr


# Sizes.

def test_sizes_of_modules() -> None:
    problems = []
    for module, path in MODULES.items():
        lines = source(module).count("\n")
        short = lines < SHORTEST and path.name != "__init__.py" and not inside(
            module, tuple(SHORT)) and module.removeprefix("geventuwsgi.") not in SHORT
        if lines > LONGEST or short:
            problems.append(f"{path}: {lines} lines")
    failing(problems, f"A module is one idea, {SHORTEST} to {LONGEST} lines. A short one belongs "
                      "to the module that uses it, a long one is two ideas.")


def test_sizes_of_functions() -> None:
    failing([f"{MODULES[module]}:{node.lineno}: {node.name} has {size} lines"
             for module in MODULES for node in ast.walk(tree(module))
             if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
             and (size := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION],
            f"A function has at most {LONGEST_FUNCTION} lines: give a step of it a name.")


def test_files_of_a_folder() -> None:
    counts: dict[Path, int] = defaultdict(int)
    for path in MODULES.values():
        counts[path.parent] += 1
    failing([f"{folder}: {count} files" for folder, count in counts.items()
             if count > MOST_FILES],
            f"A folder has at most {MOST_FILES} files: it is more than one layer.")


# Digits.

def test_digits_are_of_ascii() -> None:
    """`"\u00b2".isdigit()` is true and `int()` fails: such a byte once ended the master."""
    failing([f"{MODULES[module]}:{number}: {line.strip()}"
             for module in MODULES if not inside(module, DIGITS_OF_BYTES)
             for number, line in enumerate(source(module).splitlines(), 1)
             if re.search(r"\.(isdecimal|isnumeric)\(", line)
             or ".isdigit(" in line and ".isascii(" not in line],
            "A text is checked with isascii() and isdigit() in one line before int() reads it.")


# Names and texts.

def test_names_of_modules() -> None:
    names: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            names[module.rpartition(".")[2]].append(module)
    failing([", ".join(modules) for name, modules in names.items()
             if len(modules) > 1 and name not in TOPICS],
            "These modules have one name. Rename one, or list the name in TOPICS if it is one "
            "topic in several layers.")


WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def forbidden(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of the words in a text that are in WORDS."""
    lower = text.lower()
    inside_text = [word for word in WORDS if word in lower]     # far cheaper than a pattern
    if not inside_text:
        return
    for number, line in enumerate(ALLOWED.sub("", text).split("\n"), 1):
        if any(word in line.lower() for word in inside_text):
            yield from ((number, word) for word in WORD.findall(line) if word.lower() in WORDS)


def test_a_fork_makes_no_server() -> None:
    """Each process that reads the master's messages, or the log's lines, gives up in its forks."""
    problems = [f"{module} has no forked.watch(...)" for module in MODULES
                if re.search(r"[= ](WorkerCommands|LogCollector)\(", source(module))
                and "forked.watch(" not in source(module)
                and not re.search(r"(?m)^class (WorkerCommands|LogCollector)", source(module))]
    failing(problems, "A process that serves has to stop being a server in its forks.")


@pytest.mark.parametrize("text, words", [
    ("class WaitingRoom: ...", ["Room"]), ("def _tend_all(): ...", ["tend"]),
    ("# a room\nTOLD_AT = 1", ["room", "TOLD"]), ("extended roomy company_name", ["company"]),
    ("file.tell()", []), ("worker_reload_mercy", [])])
def test_forbidden_words_are_found_in_names(text: str, words: list[str]) -> None:
    assert [word for _, word in forbidden(text)] == words


def test_words() -> None:
    sources = {path: source(module) for module, path in MODULES.items()}
    for folder in ("tests", "benchmarks"):
        for path in (PACKAGE.parent / folder).rglob("*.py"):
            if path != Path(__file__) and "sites" not in path.parts:    # deployments of others
                sources[path] = path.read_text()
    problems = []
    for path, text in sources.items():
        problems += [f"{path}: {word}; write: {WORDS[word]}"
                     for word in WORD.findall(str(path.relative_to(PACKAGE.parent)))
                     if word in WORDS]
        allowed = IN_TESTS if PACKAGE not in path.parents else set()
        problems += [f"{path}:{number}: {word}; write: {WORDS[word.lower()]}"
                     for number, word in forbidden(text) if word.lower() not in allowed]
    failing(problems, "A name or text has a word that no manual of this field has.")


def literals(module: str) -> Iterator[str]:
    """Yield texts of 20 characters and more; of an f-string only parts that say something."""
    parts = {id(part) for node in ast.walk(tree(module)) if isinstance(node, ast.JoinedStr)
             for part in node.values}
    docstrings = {id(node.body[0].value) for node in ast.walk(tree(module))
                  if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef,
                                       ast.AsyncFunctionDef))
                  and node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and " " in node.value and id(node) not in docstrings \
                and len(node.value) >= (40 if id(node) in parts else 20):
            yield node.value


def constants(module: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of the constants of a module, in whatever way the value is written."""
    for node in tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else (
            [node.target] if isinstance(node, ast.AnnAssign) else [])
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
                yield target.id.lstrip("_"), ast.unparse(value)


def test_constants_have_one_home() -> None:
    numbers: dict[tuple[str, str], set[str]] = defaultdict(set)
    sentences: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        if not inside(module, ("config.options",)):     # rows: the reason of each is its own
            for name, value in constants(module):
                numbers[name, value].add(str(MODULES[module]))
            for text in literals(module):
                sentences[text].add(str(MODULES[module]))
    failing([f"{name} = {value}: {', '.join(sorted(where))}"
             for (name, value), where in numbers.items() if len(where) > 1]
            + [f"{text!r}: {', '.join(sorted(where))}"
               for text, where in sentences.items() if len(where) > 1],
            "A number with a name, or a text, stands in two modules: define it once, in the lower "
            "of the two, or give each number the name of what it is.")
