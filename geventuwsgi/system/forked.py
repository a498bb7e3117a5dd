"""A process that the application, or a library in it, forks is not a server.

It has copies of our descriptors, signal handlers and watchers. Unchanged, it would survive a
`terminate()`, take the master's messages and other clients' connections, and hold ports and
connections open that the worker has closed.
"""

import faulthandler
import os
import signal
import traceback
from _thread import get_ident
from collections.abc import Iterable
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from ..errors import ClientDisconnected
from ..ipc.commands import flush_streams
from . import kernel
from .signals import noop

# Handled by the worker's loop, of which Python knows nothing, or ignored by the worker.
_OURS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGQUIT,
         signal.SIGTTIN, signal.SIGTTOU)
_masks: dict[int, Any] = {}     # of threads that fork
_servers: list[WeakSet[Any]] = []   # empty until the first is watched


class Server(Protocol):
    """What a forked process has a copy of.

    Attributes:
        ended: it serves no longer.
    """

    @property
    def ended(self) -> bool: ...

    def become_ordinary(self) -> None:
        """Stop being a server, in the forked process."""


def watch(server: Server) -> None:
    """Call `become_ordinary` in every process that is forked from now on."""
    if not _servers:
        _servers.append(WeakSet())
        # For good: this cannot be undone.
        os.register_at_fork(before=_block, after_in_parent=_restore, after_in_child=_after_in_child)
    _servers[0].add(server)


def _block() -> None:
    """Block our signals, before a fork: one that arrives in the child before its handlers are reset
    would be lost, and a `terminate()` with it."""
    _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def _restore() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(get_ident()))


def _after_in_child() -> None:
    for server in tuple(_servers[0]):
        if not server.ended:
            server.become_ordinary()
    _restore()


def give_up(descriptors: Iterable[int]) -> None:
    """Reset the signals that are ours, and close descriptors; right after the fork.

    Handlers of the application stay.
    """
    faulthandler.unregister(signal.SIGUSR2)
    for number in _OURS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, noop, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    close = kernel.original("os", "close")  # gevent's waits for a hub that may never run
    for descriptor in descriptors:
        try:
            close(descriptor)
        except OSError:
            pass  # the application has closed it


def leave(error: BaseException | None) -> NoReturn:
    """End a process whose application has returned to the server, as Python ends a program.

    Args:
        error: what the application raised, None if it returned; a response that it returned
            cannot be sent.
    """
    status: int = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None and not isinstance(error, ClientDisconnected):
        traceback.print_exception(error)
        status = 1
    flush_streams()
    os._exit(status & 0xff)
