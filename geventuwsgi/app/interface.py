"""What an application is: WSGI, ASGI, or nothing that can be called as either.

The rules of this room: it looks at a callable and never calls it. Only of a plain function
are the parameters certain; decorators and callables in C are believed.
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..errors import AppLoadError


def check_callable(found: object, source: str, interface: str = "auto") -> bool:
    """Tell whether an application is ASGI; refuse what can be none, in words that say what to
    write instead."""
    if isinstance(found, types.ModuleType):
        raise AppLoadError(f"{source} is a module, not an application; "
                           f"did you mean '{found.__name__}'?")
    if not callable(found):
        raise AppLoadError(f"{source} is not callable, but of type {type(found).__name__}")
    if interface == "asgi":
        # A decorated application need not look like a coroutine function: it is believed.
        _check_parameters(found, source, "an ASGI", ("scope", "receive", "send"))
        return True
    if is_asgi(found):
        if interface == "wsgi":
            raise AppLoadError(f"{source} is an ASGI application (its call is a coroutine); "
                               "with `interface = asgi` it is served as such")
        code = getattr(getattr(found, "__call__", None), "__code__", None)
        if inspect.isclass(found) and code is not None and code.co_argcount > 3:
            raise AppLoadError(f"{source} is a class whose objects are ASGI applications; an "
                               f"object is made with (): {source}()")
        return True
    _check_parameters(found, source, "a WSGI", ("environ", "start_response"))
    return False


def _check_parameters(found: Any, source: str, kind: str, names: tuple[str, ...]) -> None:
    # Only of a plain function are the parameters certain: decorators and callables in C
    # may take two arguments whatever their signature pretends.
    if isinstance(found, types.FunctionType):
        code = found.__code__
        if code.co_argcount < len(names) and not code.co_flags & inspect.CO_VARARGS:
            hint = "" if code.co_argcount else f"; a factory is written with (): {source}()"
            if code.co_argcount == 2 and kind == "an ASGI":
                hint = "; a WSGI application is served with `interface = wsgi`"
            raise AppLoadError(f"{source} takes {code.co_argcount} arguments where {kind} "
                               f"application takes {len(names)} ({', '.join(names)}){hint}")


def is_asgi(found: Any) -> bool:
    """Tell whether a callable is an ASGI application: a coroutine function, or an object or
    class whose `__call__` is one (a class: ASGI 2's double callable)."""
    while isinstance(found, functools.partial):
        found = found.func
    return (inspect.iscoroutinefunction(found)
            or inspect.iscoroutinefunction(getattr(found, "__call__", None)))


def is_double_callable(found: Any) -> bool:
    """Tell whether this is ASGI 2's form: a class of the scope, its object the coroutine."""
    return inspect.isclass(found) and not hasattr(found, "__await__")


def single_callable(found: Any) -> Callable[..., Any]:
    """Make an ASGI 3 application of an ASGI 2 one."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await found(scope)(receive, send)
    return application
