"""Completion scripts for bash, zsh and fish, generated from the option table.

    source <(geventuwsgi --completion bash)
    geventuwsgi --completion fish >~/.config/fish/completions/geventuwsgi.fish

The scripts never run Python. They complete option names, the words of a choice, files, directories,
users and groups, and as an argument without an option INI files, Python files and directories.
"""

import re
from collections.abc import Iterator

from geventuwsgi.config.commands.help import letters_of, plain, sections
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.table import row
from geventuwsgi.config.values.types import Account, Address, Boolean, Many, Owner, Path, ValueType
from geventuwsgi.errors import UsageError

_CHOICE = re.compile(r"(?=.*[a-z])[\w.-]+(\|[\w.-]+)+")
SHELLS = ("bash", "zsh", "fish")
DIRECTORIES = frozenset(("chdir", "chdir2", "home", "pythonpath", "check-static", "sni-dir",
                         "static-gzip-dir", "static-safe", "py-autoreload-ignore", "envdir",
                         "early-envdir", "wait-for-dir", "wait-for-mountpoint"))
# Options of a letter that depends on its value, for a number, which is not completed.
NUMERIC = frozenset(("processes", "buffer-size"))
INI = frozenset(("ini", "inherit", "ini-paste", "ini-paste-logged", "fallback-config"))
URLS = frozenset(("readiness-path",))   # paths of requests


def script(shell: str) -> str:
    """Return the completion script of a shell.

    Raises:
        UsageError: there is none for this shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"{shell!r} is not one of {', '.join(SHELLS)}", option="completion")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def options() -> Iterator[tuple[Option, list[str]]]:
    """Yield each option of the command line, with all its names there."""
    for section, found in sections():
        for option in found:
            if section != "INI logic" and option.name != "application":
                letters = [f"-{letter}" for letter in letters_of(option)
                           if option.name not in NUMERIC]
                yield option, [*letters, *(f"--{name}" for name in option.names)]


def negations() -> Iterator[tuple[str, Option]]:
    """Yield `--no-NAME` for each flag that it switches off (`argv`)."""
    for option, _ in options():
        if isinstance(option.value_type, Boolean) and option.status == "taken":
            for name in option.names:
                if not name.startswith(("no-", "disable-")) and row(f"no-{name}") is None:
                    yield f"--no-{name}", option


def bare_names() -> str:
    """Return the names that are arguments of --help."""
    return " ".join(sorted(name[2:] for _, names in options() for name in names
                           if name.startswith("--")))


def completed_by(option: Option) -> str:
    """Return how a value is completed: a key of the scripts' actions, or the words of a choice.

    "" is a flag, "none" a value that is not completed.
    """
    value_type: ValueType = option.value_type
    if isinstance(value_type, Many):
        value_type = value_type.of
    if option.name == "help":
        return "help"
    if value_type.flag:
        return ""
    if _CHOICE.fullmatch(value_type.metavar):
        return "words " + value_type.metavar.replace("|", " ")
    if option.name in URLS:
        return "none"
    if option.name in INI:
        return "ini"
    if option.name in DIRECTORIES:
        return "directories"
    if isinstance(value_type, (Path, Address)):
        return "files"
    if isinstance(value_type, (Account, Owner)):
        return "groups" if getattr(value_type, "group", False) else "users"
    return "none"


def _help(option: Option) -> str:
    return plain(option.help, "{}")


# bash splits words at "=", so `--name=value` is three of them.

_BASH = """\
# Completion of geventuwsgi for bash: source <(geventuwsgi --completion bash)
_geventuwsgi() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=
    [ "$COMP_CWORD" -gt 0 ] && before=${{COMP_WORDS[COMP_CWORD - 1]}}
    if [ "$current" = = ]; then
        current=
    elif [ "$before" = = ] && [ "$COMP_CWORD" -gt 1 ]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    COMPREPLY=()
    case $before in
{cases}
    esac
    case $current in
        -*) mapfile -t COMPREPLY < <(compgen -W '{names}' -- "$current") ;;
        *)  _geventuwsgi_files '!*.@(ini|py)' "$current" ;;
    esac
}}
_geventuwsgi_files() {{
    local extglob=$(shopt -p extglob)
    shopt -s extglob
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$2"; compgen -f -X "$1" -- "$2")
    $extglob
}}
complete -F _geventuwsgi geventuwsgi
"""
_BASH_ACTIONS = {
    "ini": """_geventuwsgi_files '!*.ini' "$current\"""",
    "files": """_geventuwsgi_files '' "$current\"""",
    "directories": """_geventuwsgi_files '*' "$current\"""",
    "users": """mapfile -t COMPREPLY < <(compgen -u -- "$current")""",
    "groups": """mapfile -t COMPREPLY < <(compgen -g -- "$current")""",
    "none": "",
}


def _bash() -> str:
    by_action: dict[str, list[str]] = {}
    every = [name for name, _ in negations()]
    for option, names in options():
        every += names
        found = completed_by(option)
        if found:
            by_action.setdefault(found, []).extend(names)
    bare, cases = bare_names(), []
    for found, names in by_action.items():
        words = bare if found == "help" else found.removeprefix("words ")
        action = _BASH_ACTIONS.get(
            found, f"""mapfile -t COMPREPLY < <(compgen -W '{words}' -- "$current")""")
        if found == "help":     # the name of an option is optional
            action = f'[[ $current == -* ]] || {{ {action}; return; }} ;;'
        else:
            action = f"{action}{'; ' if action else ''}return ;;"
        cases.append(f"        {'|'.join(names)})\n            {action}")
    return _BASH.format(cases="\n".join(cases),
                        names=" ".join(name for name in every if name.startswith("--")))


# zsh: `_arguments` handles both `--name value` and `--name=value`.

_ZSH = """\
#compdef geventuwsgi
# Completion of geventuwsgi for zsh: source <(geventuwsgi --completion zsh), or this text as
# _geventuwsgi in a directory of $fpath.
_geventuwsgi() {{
    _arguments \\
{specs}
        '*:application:_files -g "*.(ini|py)(-.)"'
}}
_geventuwsgi_options() {{
    compadd -- {bare}
}}
if [[ $funcstack[1] = _geventuwsgi ]]; then
    _geventuwsgi "$@"
else
    compdef _geventuwsgi geventuwsgi
fi
"""
_ZSH_ACTIONS = {
    "ini": '_files -g "*.ini(-.)"', "files": "_files", "directories": "_files -/",
    "users": "_users", "groups": "_groups", "none": " ",
    "help": "_geventuwsgi_options"}


def _zsh() -> str:
    lines = []
    for option, names in options():
        text = _help(option).translate({ord("["): "(", ord("]"): ")", ord("'"): "’"})
        found = completed_by(option)
        action = _ZSH_ACTIONS.get(found, f"({found.removeprefix('words ')})")
        metavar = option.value_type.metavar.replace(":", r"\:").replace("'", "") or "option"
        for name in names:
            mark = "" if not found else "=" if name.startswith("--") else "+"
            argument = f":{metavar}:{action}" if found else ""
            if found == "help":
                mark, argument = "", f"::{metavar}:{action}"
            lines.append(f"        '*{name}{mark}[{text}]{argument}' \\")
    lines += [f"        '*{name}[switch {option.name} off]' \\" for name, option in negations()]
    return _ZSH.format(specs="\n".join(lines), bare=bare_names())


# fish

_FISH = """\
# Completion of geventuwsgi for fish: geventuwsgi --completion fish | source
complete -c geventuwsgi -f -k -a '(__fish_complete_suffix .py)'
complete -c geventuwsgi -f -k -a '(__fish_complete_suffix .ini)'
complete -c geventuwsgi -n 'contains -- (commandline -opc)[-1] --help -h' -a '{bare}'
"""
_FISH_ACTIONS = {
    "": "", "ini": " -x -k -a '(__fish_complete_suffix .ini)'", "files": " -r -F",
    "directories": " -x -a '(__fish_complete_directories)'",
    "users": " -x -a '(__fish_complete_users)'", "groups": " -x -a '(__fish_complete_groups)'",
    "none": " -x", "help": ""}


def _fish() -> str:
    lines = [_FISH.format(bare=bare_names())]
    for option, names in options():
        found = completed_by(option)
        action = _FISH_ACTIONS.get(found, f" -x -a '{found.removeprefix('words ')}'")
        flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                         for name in names)
        text = _help(option).replace("\\", r"\\").replace("'", r"\'")
        lines.append(f"complete -c geventuwsgi {flags}{action} -d '{text}'\n")
    lines += [f"complete -c geventuwsgi -l {name[2:]} -d 'switch {option.name} off'\n"
              for name, option in negations()]
    return "".join(lines)
