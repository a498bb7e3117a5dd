"""A finished request as the request log formats it."""

from typing import Any


class RequestRecord:
    """The fields that formats read. Exchanges inherit them and set only what differs: defaults
    live on the class, and cost a request nothing.

    Attributes:
        environ: the variables of the request; only `get` is used.
        method, uri, protocol: of the request line.
        status: of the response.
        header_count, header_size, body_size: of the response; sizes in octets.
        vars: names and values of the request's variables, counted apart as uWSGI does.
        vars_size, request_length: of the request's head and body, in octets.
        via: what sent the response, as uWSGI names it ("sendfile()"); "" for the usual way.
        app: the application's number, -1 if none was called.
        core: the application slot.
        app_requests, total_requests: counters of the application and of all workers.
        duration: in seconds.
        started: in seconds since the epoch.
        pid, worker: of the process.
        logvars: variables that the application has set; None for none.
    """

    environ: Any
    method = "GET"
    uri: str
    protocol: Any
    status = 500
    header_count = 0
    header_size = 0
    body_size = 0
    vars = 0
    vars_size = 0
    request_length = 0
    via = ""
    app = -1
    core = 0
    app_requests = 0
    total_requests = 0
    duration = 0.0
    started = 0.0
    pid = 0
    worker = 0
    logvars: dict[str, str] | None = None

    def replaced(self, status: int, octets: bytes) -> None:
        """Record that an error page replaced the response.

        Args:
            status: of the page.
            octets: its head and body.
        """
        head, _, body = octets.partition(b"\r\n\r\n")
        self.status = status
        self.header_count = head.count(b"\r\n")
        self.header_size, self.body_size = len(head) + 4, len(body)
