"""gevent's own WSGI server as a peer: `python benchmarks/pywsgi.py APP PORT`."""

from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402 - patched first
import sys  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402


def main() -> None:
    """Serve until killed."""
    module, _, name = sys.argv[1].partition(":")
    application = getattr(importlib.import_module(module), name)
    log = open(sys.argv[3], "a") if len(sys.argv) > 3 else None
    WSGIServer(("127.0.0.1", int(sys.argv[2])), application, log=log, backlog=1024).serve_forever()


if __name__ == "__main__":
    main()
