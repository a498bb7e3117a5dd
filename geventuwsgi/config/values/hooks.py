"""Hooks and commands as an operator writes them.

uWSGI finds a mistake in a hook when the hook is due, at the start or weeks later. Here
each is read whole when the configuration is: an action that nobody knows, a mode that is
no number or a missing argument is an error that names the line.
"""

import re
import signal
from collections.abc import Callable, Mapping

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import ValueType

_PATH = ("a path", r"\S.*")
_PATH_AND_TEXT = ("FILE TEXT", r"\S+ .*")
# What each action wants, for people and as a regular expression.
ACTIONS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("exec", "run", "safeexec"), ("a command", r"\s*\S.*")),
    **dict.fromkeys(("touch", "create", "creat", "unlink", "mkdir", "sticky"), _PATH),
    **dict.fromkeys(("write", "writen", "append", "writefifo"), _PATH_AND_TEXT),
    "appendn": ("FILE, or FILE TEXT", r"\S+( .*)?"),
    "chmod": ("FILE MODE, the mode in octal digits", r"\S.* [0-7]{3,4}"),
    "chown": ("FILE USER GROUP", r"\S.* \S+ \S+"),
    "chown2": ("FILE UID GID, as numbers", r"\S.* \d+ \d+"),
    **dict.fromkeys(("wait_for_fs", "wait_for_file", "wait_for_dir"), _PATH),
    "wait_for_socket": ("an address", r"\S+"),
    **dict.fromkeys(("print", "log"), ("a text", r".*")),
}
# What only a process of the application does, which goes on from there.
_OWN_ACTIONS: Mapping[str, tuple[str, str]] = {
    **ACTIONS, **dict.fromkeys(("cd", "chdir"), ("a directory", r"\S.*"))}
_C = "there are no C functions to call in this server: use exec"
_RPC = "there is no RPC here: use exec"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("call", "callret", "callint", "callintret", "symbol"), _C),
    **dict.fromkeys(("cd", "chdir"), "use the option chdir, or hook-post-fork"),
    "putenv": "use the option env",
    **dict.fromkeys(("mount", "umount"), "mounts are for the service manager or the container"),
    "hostname": "the name of the machine is for the service manager or the container",
    "alarm": "there are no alarms here: use exec",
    **dict.fromkeys(("rpc", "retryrpc"), _RPC),
    "spinningfifo": "use writefifo",
    "exit": "nothing is there to be tested with it: leave it out",
}
# uWSGI's functions that people bind signals to, and what the master does for each.
FUNCTIONS: Mapping[str, str] = {
    "gracefully_kill_them_all": "stop", "kill_them_all": "quit", "grace_them_all": "reload",
    "stats": "ignore", "uwsgi_log_reopen": "reopen",
    "suspend_resume_them_all": "pause"}

Parsed = tuple[str, str, bool]  # action, argument, private


def parsed(text: str, fail: Callable[[str], object],
           actions: Mapping[str, tuple[str, str]] = _OWN_ACTIONS) -> Parsed:
    """Split `[!]action:argument`; `fail` is called with what is wrong, and raises."""
    action, colon, argument = text.partition(":")
    private, action = action.startswith("!"), action.removeprefix("!").strip()
    if not colon or not action:
        fail(f"{text!r} is not of the form action:argument, such as exec:COMMAND")
    if action == "unix_signal":
        fail("signals are bound in hook-master-start alone")
    if action in REFUSED and action not in actions:
        fail(f"{action}: {REFUSED[action]}")
    if action not in actions:
        from difflib import get_close_matches  # rarely needed, and 0.7 MB of the master

        close = get_close_matches(action, actions, 1)
        fail(f"there is no action {action!r}" + (f"; did you mean {close[0]}?" if close else
                                                 f" (there are {', '.join(actions)})"))
    wants, pattern = actions[action]
    if "\0" in argument or not re.fullmatch(pattern, argument, re.DOTALL):
        fail(f"{action} needs {wants}")
    return action, argument, private


class Hook(ValueType):
    """`action:argument`."""

    metavar = "ACTION:ARGUMENT"

    actions = ACTIONS

    def value(self, text: str, context: CastContext) -> object:
        parsed(text, context.fail, self.actions)
        return text


class OwnHook(Hook):
    """A hook of a process of the application: it may change the directory."""

    actions = _OWN_ACTIONS


class MasterHook(Hook):
    """A hook, or `unix_signal:NUMBER FUNCTION`."""

    def value(self, text: str, context: CastContext) -> object:
        if not text.startswith("unix_signal:"):
            return super().value(text, context)
        match = re.fullmatch(r"unix_signal:\s*(\d+)\s+(\w+)\s*", text)
        if match is None:
            context.fail(f"{text!r} is not of the form unix_signal:NUMBER FUNCTION")
        number, function = int(match[1]), match[2]
        if number not in signal.valid_signals() or number in (
                signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
            context.fail(f"{number} is no signal that can be bound")
        if function not in FUNCTIONS:
            context.fail(f"there is no function {function!r} here, only {', '.join(FUNCTIONS)}")
        return text


class TouchHook(Hook):
    """`FILE action:argument`."""

    metavar = "FILE ACTION:ARGUMENT"

    def value(self, text: str, context: CastContext) -> object:
        path, _, action = text.partition(" ")
        if not path or not action.strip():
            context.fail(f"{text!r} is not of the form FILE ACTION:ARGUMENT")
        parsed(action.strip(), context.fail, ACTIONS)
        return text


class CommandLine(ValueType):
    """A command line for the shell."""

    metavar = "COMMAND"

    def value(self, text: str, context: CastContext) -> object:
        if not text.strip():
            context.fail("needs a command")
        if "\0" in text:
            context.fail("a command holds no NUL")
        return text


class TouchCommand(CommandLine):
    """`FILE COMMAND`."""

    metavar = "FILE COMMAND"

    def value(self, text: str, context: CastContext) -> object:
        path, _, command = text.partition(" ")
        if not path or not command.strip():
            context.fail(f"{text!r} is not of the form FILE COMMAND")
        return super().value(text, context)
