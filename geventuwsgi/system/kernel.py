"""The system's own calls: prctl(2) by ctypes, and functions as they were before patching.

Linux only, as the whole wing. A kernel or a sandbox that refuses is told to the caller.
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
    """Inherit the orphans among our descendants, as init would (Linux 3.4).

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send us `number` when our parent dies.

    Called after the uid was dropped, for setuid(2) clears it; not inherited by fork.
    """
    _prctl(PR_SET_PDEATHSIG, number)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
