"""The options about the configuration itself: files, conditions, placeholders and commands.

Options of the status "directive" act while the lines are read (`sources.lines`).
"""

from geventuwsgi.config.options.option import Option, refused
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.types import Assignment, Boolean, Choice, Many, Path, ValueType

_CONFIGURATION = "Configuration"
CONFIGURATION: tuple[Option, ...] = (
    Option("ini", Path(), "read an INI file; FILE:SECTION reads that section", _CONFIGURATION,
           aliases=("config", "include"), letters="c", status="directive",
           difference="a file that includes itself, directly or through others, is an error"),
    Option("inherit", Path(), "read this INI file after all other configuration",
           _CONFIGURATION, status="directive"),
    Option("strict", Boolean(), "make an unknown option in a [uwsgi] section an error",
           _CONFIGURATION, default=False, status="directive"),
    Option("set", Assignment(), "set an option, or a placeholder if there is no such option",
           _CONFIGURATION, letters="S", status="directive"),
    Option("set-placeholder", Assignment(), "set a placeholder, for %(name)", _CONFIGURATION,
           aliases=("set-ph",), status="directive"),
    Option("show-config", Boolean(), "print every value and its origin, and the lines that are "
           "refused, then exit; status 1 if a line is refused",
           _CONFIGURATION, gunicorn=("print-config",), status="command",
           difference="it has no effect in a file; uWSGI prints its options and continues"),
    Option("check-config", Boolean(), "report how each line of the configuration is treated, "
           "then exit; also for a gunicorn.conf.py; status 1 if a line is refused or wrong",
           _CONFIGURATION, status="command"),
    Option("format", Choice("text", "json"), "the output format of --check-config and --status",
           _CONFIGURATION, status="command", everywhere=False),
    Option("from", Path(), "convert a gunicorn.conf.py to an INI file on standard output, then "
           "exit; status 1 if a setting is refused", _CONFIGURATION, status="command",
           everywhere=False),
    Option("completion", Choice("bash", "zsh", "fish"), "print the completion script for a shell, "
           "then exit: source <(geventuwsgi --completion bash)", _CONFIGURATION,
           status="command", everywhere=False),
    Option("help", Boolean(), "print this text, or with --help OPTION the details of one option",
           _CONFIGURATION, aliases=("usage",), letters="h", status="command"),
    Option("version", Boolean(), "print the version", _CONFIGURATION, letters="V",
           status="command"),
    Option("declare-option", ValueType(),
           "NAME=OPTION=VALUE;...: declare an option that is replaced by other options; in them "
           "$1, $2, ... are the words of its value", _CONFIGURATION,
           aliases=("declare-option2",), status="directive",
           difference="it also applies to lines before it; the order of the lines is kept"),
    Option("resolve", Assignment(), "PLACEHOLDER=NAME: set a placeholder to the IPv4 address of a "
           "host", _CONFIGURATION, status="directive"),
    Option("envdir", Many(Path()), "set environment variables from a daemontools directory, "
           "overriding those of env; may be repeated", _CONFIGURATION, default=(), merge=True),
    Option("early-envdir", Path(), "as envdir, before anything else is read, for $(NAME)",
           _CONFIGURATION, status="directive"),
    Option("fallback-config", Path(), "the file to read instead if the server cannot start with "
           "this configuration (exit status 1)", _CONFIGURATION),
    Option("print", Many(ValueType()), "write a text to the log at startup; may be repeated",
           _CONFIGURATION, default=(), merge=True, aliases=("iprint",),
           difference="iprint writes at the same time, and its references are replaced"),
    Option("blacklist", ValueType(), "NAMES: forbid these options in the lines that follow",
           _CONFIGURATION, status="directive"),
    Option("end-blacklist", ValueType(), "end the blacklist", _CONFIGURATION, status="directive"),
    Option("whitelist", ValueType(), "NAMES: allow only these options in the lines that follow",
           _CONFIGURATION, status="directive"),
    Option("end-whitelist", ValueType(), "end the whitelist", _CONFIGURATION, status="directive"),
    Option("exit", Number(maximum=255), "exit at this line with this status, 0 without a value",
           _CONFIGURATION, status="directive"),
    Option("get", ValueType(), "print the first value of an option or placeholder, then exit",
           _CONFIGURATION, status="command"),
    Option("dump-options", Boolean(), "print the names of all options, then exit", _CONFIGURATION,
           status="command"),
)

_LOGIC = "INI logic"
_TEXT, _PATH = ValueType(), Path()  # an inline comment is cut from a path
LOGIC: tuple[Option, ...] = tuple(
    Option(names.split()[0], value_type, text, _LOGIC, aliases=tuple(names.split()[1:]),
           status="directive")
    for names, value_type, text in (
        ("if-env if-not-env ifenv", _TEXT,
         "NAME[=VALUE]: read the lines up to endif only if the environment variable is set"),
        ("if-opt if-not-opt", _TEXT, "KEY[=VALUE]: as if-env, if the option is set"),
        ("if-file if-not-file", _PATH, "PATH: as if-env, if it is a file"),
        ("if-dir if-not-dir ifdir if-directory if-not-directory", _PATH,
         "PATH: as if-env, if it is a directory"),
        ("if-exists if-not-exists ifexists", _PATH, "PATH: as if-env, if it exists"),
        ("if-hostname if-not-hostname", _TEXT, "NAME: as if-env, if it is this machine's name"),
        ("if-hostname-match if-not-hostname-match", _TEXT,
         "REGEX: as if-env, if it matches this machine's name"),
        ("if-plugin if-not-plugin ifplugin", _TEXT,
         "NAME: as if-env, if the function of this uWSGI plugin is built in"),
        ("if-reload if-not-reload", _TEXT, "as if-env, if the files are read for a reload"),
        ("for", _TEXT, "WORDS: repeat the lines up to endfor for each word, as %(_)"),
        ("for-glob", _PATH, "PATTERN: as for, with each file that matches"),
        ("for-times", _PATH, "N: as for, with each number from 1 to N"),
        ("for-readline", _PATH, "PATH: as for, with each line of a file"),
        ("endif end-if endfor end-for end", _TEXT, "end the block"),
    ))

UNSUPPORTED: tuple[Option, ...] = refused(
    "inject-before inject-after", "write include = FILE where its lines are wanted, or "
    "inherit = FILE for the end")
