"""Checks that mostly wait, done at the same time: they take as long as the longest of them.

    in_parallel(partial(check, server, path) for path in PATHS)

Each has connections of its own, and may wait for conditions that the others do not change.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial


def in_parallel(checks: Iterable[Callable[[], object]], at_once: int | None = None) -> None:
    """Call them all in threads; fail as the first of them that failed, which is named.

    Args:
        checks: what to call.
        at_once: how many at a time, where each starts a server: some four keep two processors
            busy and leave no one waiting for long; None for all.
    """
    checks = list(checks)
    with ThreadPoolExecutor(at_once or len(checks)) as pool:
        running = [(check, pool.submit(check)) for check in checks]
    for check, future in running:
        error = future.exception()
        if error is not None:
            raise AssertionError(f"in {told(check)}: {error}") from error


def told(check: Callable[[], object]) -> str:
    """Name a check, with what it was given."""
    if isinstance(check, partial):
        given = ", ".join(repr(one) for one in (*check.args, *check.keywords.values()))
        return f"{told(check.func)}({given})"
    return getattr(check, "__name__", repr(check))
