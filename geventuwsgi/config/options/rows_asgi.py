"""The options of ASGI applications; uvicorn's names where it has one."""

from geventuwsgi.config.values.types import Boolean, Choice, Kind, Name
from geventuwsgi.config.values.numbers import Number, Seconds, Size
from geventuwsgi.config.options.option import Option

# gunicorn's way to run uvicorn, as files and command lines have it.
UVICORN_WORKERS = ("uvicorn.workers.uvicornworker", "uvicorn.workers.uvicornh11worker",
                   "uvicorn_worker.uvicornworker", "uvicorn_worker.uvicornh11worker")

_ASGI = "ASGI"
ROWS: tuple[Option, ...] = (
    Option("asgi", Name(), "the ASGI application, module:callable or module:factory()", _ASGI),
    Option("interface", Choice("auto", "wsgi", "asgi",
                               asgi3="write interface = asgi",
                               asgi2="write interface = asgi: both forms are served",
                               rsgi="only WSGI and ASGI are served"),
           "what the application is; auto looks at it", _ASGI, default="auto",
           derived="``asgi`` with the option asgi or worker-class asgi, else ``auto``"),
    Option("factory", Boolean(), "the application named is a function that makes it", _ASGI,
           default=False),
    Option("root-path", Kind(), "the path that a proxy in front has cut off, for root_path of "
           "the scope", _ASGI, default=""),
    Option("asgi-loop", Choice("auto", "asyncio", "uvloop"), "the event loop of ASGI workers; "
           "auto takes uvloop where it is installed", _ASGI, default="auto"),
    Option("asgi-loop-timeout", Seconds(), "after how many seconds without an answer of the "
           "event loop its stack is logged and the worker replaced; 0 is never", _ASGI,
           default=30),
    Option("lifespan", Choice("auto", "on", "off"), "run the application's startup and shutdown; "
           "with auto an application that knows no lifespan is served without", _ASGI,
           default="auto", gunicorn=("asgi-lifespan",)),
    Option("lifespan-startup-timeout", Seconds(), "seconds that the startup may take; 0 is no "
           "limit", _ASGI, default=60),
    Option("lifespan-shutdown-timeout", Seconds(), "seconds that the shutdown may take", _ASGI,
           default=30),
    Option("ws-ping-interval", Seconds(), "seconds between two pings on a WebSocket; 0 is no "
           "pings", _ASGI, default=20),
    Option("ws-ping-timeout", Seconds(), "seconds within which a ping has to be answered; 0 is "
           "no limit", _ASGI, default=20),
    Option("ws-max-size", Size(minimum=1), "the greatest WebSocket message", _ASGI,
           default=16 * 1024 ** 2, gunicorn=("websocket-max-message-size",)),
    Option("ws-max-queue", Number(minimum=1), "how many messages of a WebSocket may wait for the "
           "application before reading stops", _ASGI, default=32),
    Option("ws-per-message-deflate", Boolean(), "compress WebSocket messages where the client "
           "offers it", _ASGI, default=True),
)
