"""The rows of what only a configuration says to itself: words of the INI dialect.

Those that act while lines are read are `directive`s, of which `reading` knows.
"""

from geventuwsgi.config.values.types import Assignment, Boolean, Kind, Many, Path
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.options.option import Option, refused

_CONFIGURATION = "Configuration"
ROWS = (
    Option("declare-option", Kind(), "NAME=OPTION=VALUE;...: declare an option that stands for "
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
    Option("print", Many(Kind()), "write a text to the log at the start", _CONFIGURATION,
           default=(), merge=True, aliases=("iprint",),
           difference="iprint writes with the others, and its references are replaced"),
    Option("blacklist", Kind(), "NAMES: the lines behind it may not hold these options",
           _CONFIGURATION, status="directive"),
    Option("end-blacklist", Kind(), "ends the blacklist", _CONFIGURATION, status="directive"),
    Option("whitelist", Kind(), "NAMES: the lines behind it may hold these options alone",
           _CONFIGURATION, status="directive"),
    Option("end-whitelist", Kind(), "ends the whitelist", _CONFIGURATION, status="directive"),
    Option("exit", Number(maximum=255), "STATUS: end the start at this line, 0 without a value",
           _CONFIGURATION, status="directive"),
    Option("get", Kind(), "print the first text of an option or placeholder, then end",
           _CONFIGURATION, status="command"),
    Option("dump-options", Boolean(), "print the names of all options, then end", _CONFIGURATION,
           status="command"),
    Option("optimize", Number(maximum=2), "run the application's Python with -O (1) or -OO (2)",
           "Application", letters="O", derived="as the server's"),
    *refused("inject-before inject-after", "write include = FILE where its lines are wanted, or "
             "inherit = FILE for the end"),
)
