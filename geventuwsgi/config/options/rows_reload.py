"""The rows of reloading and stopping: what triggers it, and how it goes."""

from geventuwsgi.config.values.types import Boolean, Many, Name, Path
from geventuwsgi.config.values.numbers import Seconds
from geventuwsgi.config.options.option import Option

_RELOAD = "Reload and stop"
_FILES = ("the file may be a pattern, the new generation is started beside the old one, and if "
          "it fails the old one serves on")

RELOAD = (
    Option("touch-reload", Many(Path()), "reload when this file appears, changes or goes; may be "
           "repeated", _RELOAD, default=(), merge=True,
           aliases=("fs-reload", "fs-brutal-reload", "touch-workers-reload"),
           difference=_FILES + ". The fs- names are the same, looked at once a second, and "
           "touch-workers-reload reads the configuration too"),
    Option("touch-chain-reload", Many(Path()), "the same, one worker after the other; may be "
           "repeated", _RELOAD, default=(), merge=True,
           difference=_FILES + ". New code is picked up without lazy-apps too, and a worker's "
           "successor serves before it ends"),
    Option("chain-reload", Boolean(), "make each reload one worker after the other: there is never "
           "more than one worker above the number", _RELOAD, default=False),
    Option("py-autoreload", Seconds(), "for development: look every so many seconds whether the "
           "file of an imported module has changed, and reload; 0 is off", _RELOAD, default=0,
           aliases=("python-autoreload", "py-auto-reload", "python-auto-reload"),
           derived="0; 1 with reload, 0.5 in a development run",
           difference="the interpreter's own library and this server are not looked at"),
    Option("py-autoreload-ignore", Many(Name()), "a module that py-autoreload does not look at; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("py-auto-reload-ignore",)),
    Option("reload", Boolean(), "for development: py-autoreload = 1, and where the new code does "
           "not load its traceback is served as a page. Before a pid file: reload the server of "
           "that file, wait for the outcome, then end", _RELOAD, default=False, everywhere=False,
           difference="it waits until the new workers serve, and tells on the standard error why "
                      "they do not"),
    Option("stop", Path(), "stop the server of this pid file gracefully, wait for its end, then "
           "end", _RELOAD, status="command",
           difference="it waits, and tells on the standard error what went wrong"),
    Option("shutdown-delay", Seconds(), "serve on for so many seconds after the order to stop, "
           "while readiness checks are answered 503; 0 is off", _RELOAD, default=0),
    Option("readiness-path", Many(Path(), split=","), "what a load balancer asks to know whether "
           "to send requests here: with shutdown-delay answered by the server itself once it is "
           "to stop; may be repeated", _RELOAD, default=("/readyz", "/healthz"), merge=False),
    Option("mount-check", Many(Path()), "end with status 1 when this is no mountpoint any more; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("check-mount", "check-mountpoint", "mountpoint-check"),
           difference="requests in progress may finish"),
    Option("exit-on-reload", Boolean(), "stop instead of reloading, for a supervisor that starts "
           "the server anew", _RELOAD, default=False),
)
