"""Completion in the shells themselves, if they are installed; bash always is."""

import shutil
import subprocess
from pathlib import Path

import pytest

from geventuwsgi.config.commands import completion
from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.config.sources import argv
from geventuwsgi.errors import UsageError


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files to choose from, and the scripts."""
    path = tmp_path_factory.mktemp("shell")
    for name in ("app.ini", "two words.ini", "notes.txt", "main.py"):
        (path / name).touch()
    (path / "conf").mkdir()
    for shell in completion.SHELLS:
        (path / f"complete.{shell}").write_text(completion.script(shell))
    return path


def run(directory: Path, *argv: str) -> list[str]:
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    result = subprocess.run(argv, cwd=directory, text=True, capture_output=True, timeout=60,
                            env={"PATH": "/usr/bin:/bin", "HOME": str(directory)})
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


WORDS = {
    ("--log-le",): ["--log-level"],
    ("--vacuum", "--worker-cl"): ["--worker-class"],
    ("--log-level", ""): ["critical", "debug", "error", "info", "warning"],
    ("--log-level", "=", "de"): ["debug"],
    ("--log-level", "="): ["critical", "debug", "error", "info", "warning"],
    ("-c", ""): ["app.ini", "conf", "two words.ini"],
    ("--ini", "=", "ap"): ["app.ini"],
    ("--logto", "n"): ["notes.txt"],
    ("--chdir", ""): ["conf"],
    ("--harakiri", ""): [],
    ("--uid", "roo"): ["root"],
    ("--no-vacu",): ["--no-vacuum"],
    ("--help", "vacu"): ["vacuum"],
    ("--help", "--vacu"): ["--vacuum"],
    ("",): ["app.ini", "conf", "main.py", "two words.ini"],
    ("--vacuum", "two"): ["two words.ini"],
}


def test_bash(directory: Path) -> None:
    lines = ["source ./complete.bash"]
    for words in WORDS:
        quoted = " ".join(f"'{word}'" for word in ("geventuwsgi", *words))
        lines.append(f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _geventuwsgi; "
                     "printf '%s\\n' \"${COMPREPLY[@]}\" --end--")
    (directory / "run.bash").write_text("\n".join(lines))
    found = "\n".join(run(directory, "bash", "run.bash")).split("--end--")
    assert [sorted(filter(None, one.split("\n"))) for one in found[:-1]] == list(WORDS.values())


def test_bash_names_every_option() -> None:
    script = completion.script("bash")
    offered = script.rpartition("compgen -W '")[2].partition("'")[0].split()
    assert len(offered) == len(set(offered))
    for option in OPTIONS:
        if option.section not in ("", "INI logic") and option.name != "application":
            assert {f"--{name}" for name in option.names} <= set(offered)
        else:
            assert f"--{option.name}" not in offered


def test_fish(directory: Path) -> None:
    for line, expected in (("--log-le", ["--log-level"]),
                           ("--log-level de", ["debug"]), ("--logto n", ["notes.txt"]),
                           ("--chdir ", ["conf/"]), ("--harakiri ", []), ("ap", ["app.ini"]),
                           ("--no-vacu", ["--no-vacuum"]), ("--help vacu", ["vacuum"])):
        script = f"source ./complete.fish; complete -C 'geventuwsgi {line}'"
        assert [one.partition("\t")[0] for one in run(directory, "fish", "-c", script)] == expected


def test_zsh(directory: Path) -> None:
    """The syntax, and each specification as zsh parses it."""
    script = ("autoload -U compinit; compinit -u -D; source ./complete.zsh; "
              "print $_comps[geventuwsgi]; _arguments() { print $#; for one in $@; do "
              "[[ $one == *:* || $one == *\\] ]] || print wrong $one; done }; _geventuwsgi")
    name, count = run(directory, "zsh", "-f", "-c", script)
    assert name == "_geventuwsgi"
    assert int(count) == (1 + sum(len(names) for _, names in completion.options())
                          + len(list(completion.negations())))


def test_flags_that_are_negations() -> None:
    offered = [name for name, _ in completion.negations()]
    assert {"--no-dev", "--no-reload", "--no-lazy-apps"} <= set(offered)
    for name in offered:
        assert list(argv.parse([name]))


def test_another_shell() -> None:
    with pytest.raises(UsageError, match="--completion: 'tcsh' is not one of bash, zsh, fish"):
        completion.script("tcsh")
