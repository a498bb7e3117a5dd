"""The application's startup and shutdown (ASGI's lifespan protocol, version 2.0).

It runs on the loop, once per worker and application. A failed startup is an error of the
boot; a failed shutdown is only logged.
"""

import asyncio
import logging
from typing import Any

from ...errors import BootError
from ...log import tracebacks

_FRAME = '  File "'   # begins a frame in the text of a traceback
_FAILED_GRACE = 0.1   # seconds that an application may run on after its startup failed

log = logging.getLogger("geventuwsgi.error")


class Lifespan:
    """One application's lifespan.

    Args:
        application: the ASGI application.
        mode: "auto", "on" or "off".
        startup_timeout, shutdown_timeout: in seconds, 0 = no limit.

    Attributes:
        state: what the application put into the lifespan's state.
    """

    def __init__(self, application: Any, mode: str, startup_timeout: float,
                 shutdown_timeout: float) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._mode = mode
        self._startup_timeout = startup_timeout or None
        self._shutdown_timeout = shutdown_timeout or None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._events: asyncio.Queue[dict[str, Any]]
        self._result: asyncio.Future[dict[str, Any]]

    async def startup(self) -> None:
        """Run the startup.

        Raises:
            BootError: it failed, or took too long.
        """
        if self._mode == "off":
            return
        self._events = asyncio.Queue()
        self._result = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.ensure_future(self._run())
        try:
            result = await asyncio.wait_for(asyncio.shield(self._result), self._startup_timeout)
        except asyncio.TimeoutError:
            self._task.cancel()
            raise BootError(f"the lifespan startup took more than {self._startup_timeout:g} "
                            f"seconds (lifespan-startup-timeout)") from None
        kind = result["type"]
        if kind == "lifespan.startup.failed":
            await asyncio.wait([self._task], timeout=_FAILED_GRACE)   # Starlette then raises
            raise _failed(str(result.get("message") or "")) from self._error
        if kind == "ended":
            if self._mode == "on":
                raise BootError(f"the lifespan startup failed: {result['reason']}",
                                result["traceback"]) from self._error
            log.info("the application does not support lifespan (%s); it is served without it",
                     result["reason"])
            self._task = None

    async def shutdown(self) -> None:
        """Run the shutdown; never raises."""
        if self._task is None or self._task.done():
            return
        self._result = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": "lifespan.shutdown"})
        try:
            result = await asyncio.wait_for(asyncio.shield(self._result), self._shutdown_timeout)
        except asyncio.TimeoutError:
            log.error("the lifespan shutdown took more than %g seconds "
                      "(lifespan-shutdown-timeout)", self._shutdown_timeout)
            self._task.cancel()
            return
        if result["type"] == "lifespan.shutdown.failed":
            log.error("the lifespan shutdown failed: %s", result.get("message", ""))

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"},
                 "state": self.state}
        self._started = self._received = self._explained = False
        reason, trace = "it returned", ""
        try:
            await self._application(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # With "auto" the server continues: an exception means that the application does not
            # support lifespan (ASGI's lifespan page). After the first `receive` it most likely
            # is an error, so it is logged too.
            self._error = error
            reason = f"{type(error).__name__}: {error}"
            trace = tracebacks.of_exception(error)
            raised = self._mode == "on" and not self._started   # by `startup`, with the trace
            if (self._started or self._received) and not self._explained and not raised:
                log.error("Error in the lifespan of the application\n%s", trace.rstrip())
        self._respond({"type": "ended", "reason": reason, "traceback": trace})

    def _respond(self, result: dict[str, Any]) -> None:
        if not self._result.done():
            self._result.set_result(result)

    async def _receive(self) -> dict[str, Any]:
        self._received = True
        return await self._events.get()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in ("lifespan.startup.complete", "lifespan.startup.failed",
                        "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            raise RuntimeError(f"{kind!r} is not a lifespan message")
        self._started = True
        if kind == "lifespan.startup.failed":   # Starlette's message is the traceback
            self._explained = _FRAME in str(message.get("message") or "")
        self._respond(message)


def _failed(message: str) -> BootError:
    """Return the error for the message of a failed startup, which is often a traceback."""
    lines = message.strip().splitlines()
    if not lines:
        return BootError("the lifespan startup failed")
    last = max((index for index, line in enumerate(lines) if line.startswith(_FRAME)), default=0)
    subject = next((line for line in lines[last:] if line[:1].strip()), lines[0])
    return BootError(f"the lifespan startup failed: {subject}",
                     message if len(lines) > 1 else "")
