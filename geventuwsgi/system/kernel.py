"""System calls: prctl(2) through ctypes, and library functions as they were before patching.

Linux only, like the whole package. A call that the kernel or a sandbox refuses raises `OSError`.
"""

import ctypes
import importlib
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1        # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36


def original(module: str, name: str) -> Any:
    """Return a function of the standard library as it was before any monkey-patching."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, as init would (Linux 3.4).

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal `number` when its parent dies.

    To be called after root is dropped, because setuid(2) clears it; fork(2) does not inherit it.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(PR_SET_PDEATHSIG, number)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def current_directory() -> str:
    """Return the current directory, "" if it was removed: a new release may replace it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""
