"""Run checks that mostly wait at the same time, so that they take as long as the longest.

    in_parallel(partial(check, server, path) for path in PATHS)

Each check has its own connections, and waits only for conditions that no other changes.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial


def in_parallel(checks: Iterable[Callable[[], object]], at_once: int | None = None) -> None:
    """Call all checks in threads; raise the first failure, with the name of its check.

    Args:
        checks: the functions.
        at_once: how many run at a time; None for all. For checks that start a server, four keep
            two processors busy.
    """
    checks = list(checks)
    with ThreadPoolExecutor(at_once or len(checks)) as pool:
        running = [(check, pool.submit(check)) for check in checks]
    for check, future in running:
        error = future.exception()
        if error is not None:
            raise AssertionError(f"in {name_of(check)}: {error}") from error


def name_of(check: Callable[[], object]) -> str:
    """Name a check, with what it was given."""
    if isinstance(check, partial):
        given = ", ".join(repr(one) for one in (*check.args, *check.keywords.values()))
        return f"{name_of(check.func)}({given})"
    return getattr(check, "__name__", repr(check))
