"""The rows of what only a configuration says to itself: words of the INI dialect.

Those that act while lines are read are `directive`s, of which `reading` knows.
"""

from geventuwsgi.config.options.option import Option, refused
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.types import Assignment, Boolean, Choice, ValueType, Many, Path

_CONFIGURATION = "Configuration"
CONFIGURATION = (
    Option("ini", Path(), "read an INI file; FILE:SECTION reads that section", _CONFIGURATION,
           aliases=("config", "include"), letters="c", status="directive",
           difference="a file that includes itself, over whatever others, is an error"),
    Option("inherit", Path(), "read an INI file behind all that is named otherwise",
           _CONFIGURATION, status="directive"),
    Option("strict", Boolean(), "make an unknown option in a [uwsgi] section an error",
           _CONFIGURATION, default=False, status="directive"),
    Option("set", Assignment(), "set an option, or a placeholder if there is no such option",
           _CONFIGURATION, letters="S", status="directive"),
    Option("set-placeholder", Assignment(), "set a placeholder, for %(name)", _CONFIGURATION,
           aliases=("set-ph",), status="directive"),
    Option("show-config", Boolean(), "print every value and where it came from, and the lines that "
           "are refused, with status 1, then end",
           _CONFIGURATION, gunicorn=("print-config",), status="command",
           difference="in a file it has no effect; uWSGI prints its options and goes on"),
    Option("check-config", Boolean(), "tell for each line of the configuration what becomes of it, "
           "then end; also of a gunicorn.conf.py; status 1 if anything is refused or wrong",
           _CONFIGURATION, status="command"),
    Option("format", Choice("text", "json"), "how --check-config prints", _CONFIGURATION,
           status="command", everywhere=False),
    Option("from", Path(), "print a gunicorn.conf.py as an INI file, then end", _CONFIGURATION,
           status="command", everywhere=False),
    Option("completion", Choice("bash", "zsh", "fish"), "print what completes this command line in "
           "a shell, then end: source <(geventuwsgi --completion bash)", _CONFIGURATION,
           status="command", everywhere=False),
    Option("help", Boolean(), "print this text, or with --help OPTION all about one option",
           _CONFIGURATION, aliases=("usage",), letters="h", status="command"),
    Option("version", Boolean(), "print the version", _CONFIGURATION, letters="V",
           status="command"),
)

_LOGIC = "INI logic"
_TEXT, _PATH = ValueType(), Path()  # an inline comment is cut from a path (decisions 39)
_CONDITIONS = (
    ("if-env if-not-env ifenv", _TEXT,
     "NAME[=VALUE]: lines up to endif count if the variable is set"),
    ("if-opt if-not-opt", _TEXT, "KEY[=VALUE]: if the option is set"),
    ("if-file if-not-file", _PATH, "PATH: if it is a file"),
    ("if-dir if-not-dir ifdir if-directory if-not-directory", _PATH, "PATH: if it is a directory"),
    ("if-exists if-not-exists ifexists", _PATH, "PATH: if it exists"),
    ("if-hostname if-not-hostname", _TEXT, "NAME: if it is this machine's name"),
    ("if-hostname-match if-not-hostname-match", _TEXT, "REGEX: if this machine's name matches"),
    ("if-plugin if-not-plugin ifplugin", _TEXT, "NAME: if uWSGI's plugin is built in here"),
    ("if-reload if-not-reload", _TEXT, "if the files are read again for a reload"),
    ("for", _TEXT, "WORDS: the lines up to endfor, once for each word as %(_)"),
    ("for-glob", _PATH, "PATTERN: once for each file that matches"),
    ("for-times", _PATH, "N: once for each number from 1 to N"),
    ("for-readline", _PATH, "PATH: once for each line of a file"),
    ("endif end-if endfor end-for end", _TEXT, "ends the block"),
)
LOGIC = tuple(
    Option(names.split()[0], kind, help_, _LOGIC, aliases=tuple(names.split()[1:]),
           status="directive")
    for names, kind, help_ in _CONDITIONS)

DIALECT = (
    Option("declare-option", ValueType(),
           "NAME=OPTION=VALUE;...: declare an option that stands for "
           "others, where $1, $2, ... are the words of its text", _CONFIGURATION,
           aliases=("declare-option2",), status="directive",
           difference="it holds for lines before it, too, in the order of the lines"),
    Option("resolve", Assignment(), "PLACEHOLDER=NAME: set a placeholder to the IPv4 address of a "
           "host", _CONFIGURATION, status="directive"),
    Option("envdir", Many(Path()), "set the variables of a directory of daemontools, over those "
           "of env; may be repeated", _CONFIGURATION, default=(), merge=True),
    Option("early-envdir", Path(), "the same before anything else is read, for $(NAME)",
           _CONFIGURATION, status="directive"),
    Option("fallback-config", Path(), "the file to read instead if the server cannot start with "
           "this configuration (exit status 1)", _CONFIGURATION),
    Option("print", Many(ValueType()), "write a text to the log at the start", _CONFIGURATION,
           default=(), merge=True, aliases=("iprint",),
           difference="iprint writes with the others, and its references are replaced"),
    Option("blacklist", ValueType(), "NAMES: the lines behind it may not hold these options",
           _CONFIGURATION, status="directive"),
    Option("end-blacklist", ValueType(), "ends the blacklist", _CONFIGURATION, status="directive"),
    Option("whitelist", ValueType(), "NAMES: the lines behind it may hold these options alone",
           _CONFIGURATION, status="directive"),
    Option("end-whitelist", ValueType(), "ends the whitelist", _CONFIGURATION, status="directive"),
    Option("exit", Number(maximum=255), "STATUS: end the start at this line, 0 without a value",
           _CONFIGURATION, status="directive"),
    Option("get", ValueType(), "print the first text of an option or placeholder, then end",
           _CONFIGURATION, status="command"),
    Option("dump-options", Boolean(), "print the names of all options, then end", _CONFIGURATION,
           status="command"),
    Option("optimize", Number(maximum=2), "run the application's Python with -O (1) or -OO (2)",
           "Application", letters="O", derived="as the server's"),
    *refused("inject-before inject-after", "write include = FILE where its lines are wanted, or "
             "inherit = FILE for the end"),
)
