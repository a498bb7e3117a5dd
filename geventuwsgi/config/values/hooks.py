"""The syntax of hooks and commands.

uWSGI reports a mistake in a hook when the hook runs, at startup or weeks later. Here each is parsed
with the configuration: an unknown action, a wrong mode or a missing argument is an error that names
the line.
"""

import re
import signal
from collections.abc import Callable, Mapping

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import ValueType, check_command

_PATH = ("a path", r"\S.*")
_PATH_AND_TEXT = ("FILE TEXT", r"\S+ .*")
# The argument of each action, in words and as a regular expression.
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
# In a process of the application a hook may also change the directory.
_APPLICATION_ACTIONS: Mapping[str, tuple[str, str]] = {
    **ACTIONS, **dict.fromkeys(("cd", "chdir"), ("a directory", r"\S.*"))}
NO_MOUNTS = "mount file systems with the service manager or the container"
_C = "this server cannot call C functions: use exec"
_RPC = "there is no RPC: use exec"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("call", "callret", "callint", "callintret", "symbol"), _C),
    **dict.fromkeys(("cd", "chdir"), "use the option chdir, or hook-post-fork"),
    "putenv": "use the option env",
    **dict.fromkeys(("mount", "umount"), NO_MOUNTS),
    "hostname": "set the host name with the service manager or the container",
    "alarm": "there are no alarms: use exec",
    **dict.fromkeys(("rpc", "retryrpc"), _RPC),
    "spinningfifo": "use writefifo",
    "exit": "it only serves to test hooks: leave it out",
}
# uWSGI's functions that signals are bound to, and the command of the master for each.
FUNCTIONS: Mapping[str, str] = {
    "gracefully_kill_them_all": "stop", "kill_them_all": "quit", "grace_them_all": "reload",
    "stats": "ignore", "uwsgi_log_reopen": "reopen",
    "suspend_resume_them_all": "pause"}

Parsed = tuple[str, str, bool]  # action, argument, private


def parsed(text: str, fail: Callable[[str], object],
           actions: Mapping[str, tuple[str, str]] = _APPLICATION_ACTIONS) -> Parsed:
    """Parse `[!]action:argument`; `fail` is called with a message, and raises."""
    action, colon, argument = text.partition(":")
    private, action = action.startswith("!"), action.removeprefix("!").strip()
    if not colon or not action:
        fail(f"{text!r} is not of the form action:argument, such as exec:COMMAND")
    if action == "unix_signal":
        fail("signals can only be bound in hook-master-start")
    if action in REFUSED and action not in actions:
        fail(f"{action}: {REFUSED[action]}")
    if action not in actions:
        from difflib import get_close_matches  # rarely needed, and 0.7 MB of the master

        close = get_close_matches(action, actions, 1)
        fail(f"there is no action {action!r}" + (f"; did you mean {close[0]}?" if close else
                                                 f" (there are {', '.join(actions)})"))
    needed, pattern = actions[action]
    if "\0" in argument or not re.fullmatch(pattern, argument, re.DOTALL):
        fail(f"{action} needs {needed}")
    return action, argument, private


class Hook(ValueType):
    """`action:argument`."""

    metavar = "ACTION:ARGUMENT"

    actions = ACTIONS

    def value(self, text: str, context: CastContext) -> object:
        parsed(text, context.fail, self.actions)
        return text


class ApplicationHook(Hook):
    """A hook in a process of the application, which may change the directory."""

    actions = _APPLICATION_ACTIONS


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
            context.fail(f"{number} is not a signal that can be bound")
        if function not in FUNCTIONS:
            context.fail(f"there is no function {function!r}, only {', '.join(FUNCTIONS)}")
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
        check_command(text, context)
        return text


class TouchCommand(CommandLine):
    """`FILE COMMAND`."""

    metavar = "FILE COMMAND"

    def value(self, text: str, context: CastContext) -> object:
        path, _, command = text.partition(" ")
        if not path or not command.strip():
            context.fail(f"{text!r} is not of the form FILE COMMAND")
        return super().value(text, context)
