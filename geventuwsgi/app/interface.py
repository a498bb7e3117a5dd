"""Find out whether an application is WSGI, ASGI or neither, without calling it."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..errors import AppLoadError


def check_callable(found: object, source: str, interface: str = "auto") -> bool:
    """Return whether an application is ASGI.

    Args:
        found: the application.
        source: where it was found, for errors.
        interface: "wsgi", "asgi" or "auto".

    Raises:
        AppLoadError: it cannot be an application; the message says what to write instead.
    """
    if isinstance(found, types.ModuleType):
        raise AppLoadError(f"{source} is a module, not an application; "
                           f"did you mean '{found.__name__}'?")
    if not callable(found):
        raise AppLoadError(f"{source} is not callable, but of type {type(found).__name__}")
    if interface == "asgi":
        # A decorated application need not look like a coroutine function.
        _check_parameters(found, source, "an ASGI", ("scope", "receive", "send"))
        return True
    if is_asgi(found):
        if interface == "wsgi":
            raise AppLoadError(f"{source} is an ASGI application (its call is a coroutine); "
                               "set `interface = asgi` to serve it")
        _check_parameters(found, source, "an ASGI", ("scope", "receive", "send"))
        code = getattr(getattr(found, "__call__", None), "__code__", None)
        if inspect.isclass(found) and code is not None and code.co_argcount > 3:
            raise AppLoadError(f"{source} is a class whose objects are ASGI applications; add () "
                               f"to create an object: {source}()")
        return True
    _check_parameters(found, source, "a WSGI", ("environ", "start_response"))
    return False


def _check_parameters(found: Any, source: str, kind: str, names: tuple[str, ...]) -> None:
    # Only a plain function's parameters are certain: decorators and callables in C may
    # accept arguments that their signature does not show.
    if isinstance(found, types.FunctionType):
        code = found.__code__
        count = code.co_argcount
        if count < len(names) and not code.co_flags & inspect.CO_VARARGS:
            needed = count - len(found.__defaults__ or ())
            hint = f"; add () if it is a factory: {source}({'...' if needed else ''})"
            if count == 2 and needed and kind == "an ASGI":
                hint = "; set `interface = wsgi` if it is a WSGI application"
            elif inspect.iscoroutinefunction(found):
                hint = ""   # a coroutine is no application either
            raise AppLoadError(f"{source} takes {count} argument{'s' * (count != 1)} where {kind} "
                               f"application takes {len(names)} ({', '.join(names)}){hint}")


def is_asgi(found: Any) -> bool:
    """Whether a callable is an ASGI application: a coroutine function, or an object or class
    whose `__call__` is one (a class: ASGI 2's double callable)."""
    while isinstance(found, functools.partial):
        found = found.func
    return (inspect.iscoroutinefunction(found)
            or inspect.iscoroutinefunction(getattr(found, "__call__", None)))


def is_double_callable(found: Any) -> bool:
    """Whether an application is ASGI 2's: a class called with the scope, whose objects are
    called with `receive` and `send`."""
    return inspect.isclass(found) and not hasattr(found, "__await__")


def single_callable(found: Any) -> Callable[..., Any]:
    """Make an ASGI 3 application of an ASGI 2 one."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await found(scope)(receive, send)
    return application
