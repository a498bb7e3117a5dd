"""The rows of uWSGI's options on requests and responses that have no effect here.

`ignored` and `refused` as in `rows_uwsgi`.
"""

from geventuwsgi.config.kinds import Kind
from geventuwsgi.config.numeric import Number
from geventuwsgi.config.option import Option, ignored, refused
from geventuwsgi.config.origin import Case

_ANY = Kind()
_NUMBER = Number(on=1)


class Modifier(Number):
    """A modifier of the uwsgi protocol: 0 is Python, and others are other languages."""

    def value(self, text: str, case: Case) -> object:
        number = super().value(text, case)
        if number:
            case.fail(f"{number}: this server runs Python alone, which is modifier 0")
        return number


ROWS: tuple[Option, ...] = (
    *ignored("http-socket-modifier1 http-socket-modifier2 https-socket-modifier1 "
             "https-socket-modifier2", "what comes in by HTTP is for the application",
             Modifier()),
    *ignored("fastcgi-modifier1 fastcgi-modifier2 scgi-modifier1 scgi-modifier2 raw-modifier1 "
             "raw-modifier2", "there are no such sockets here", _NUMBER),
    *ignored("allowed-modifiers", "requests with a modifier1 other than 0 are pings, or refused",
             _ANY),
    *refused("remap-modifier", "modifier1 is 0 or a ping: leave it out of the web server's "
             "configuration (nginx: uwsgi_modifier1)"),

    *ignored("offload-threads offload-thread", "a file goes to a slow client without a thread and "
             "without a slot of gevent", _NUMBER),
    *ignored("static-cache-paths", "nothing has to be remembered: each file is opened, and the "
             "kernel asked where it really is", _NUMBER),
    *ignored("static-cache-paths-name", "no paths are cached", _ANY),
    *refused("load-file-in-cache load-file-in-cache-gzip", "files are not served out of a cache: "
             "use static-map, the system keeps what is asked for in memory"),
    *refused("upload-progress", "no file tells how far an upload is: let the client show it, or "
             "use nginx's upload progress module"),
    *ignored("chunked-input-limit", "a chunk is handed on as it arrives, however long: limit-post "
             "bounds the body", _NUMBER),
    *ignored("body-read-warning", "the log has no such warning: limit-post bounds a body, and "
             "memory-report tells what a worker takes", _NUMBER),
    *ignored("response-headers-limit", "there is no such limit", _NUMBER),
    *ignored("wsgi-strict", "what PEP 3333 calls an error always is one"),
    *refused("start_response-nodelay", "PEP 3333 has the head leave with the first piece of the "
             "body: yield that at once"),
    *refused("exception-handler", "there are no handlers to load: tracebacks are in the log; use "
             "the SDK of your error tracker in the application"),
    *refused("harakiri-queue-threshold", "a request ends at its harakiri however many wait: use "
             "harakiri-path for those that may take long"),
    *refused("router-list routers-list", "docs/options.rst lists the actions of route"),
)
