"""Callables under other names."""

from facts import application as api

__all__ = ["api", "build", "application"]


def build(prefix="built"):
    def built(environ, start_response):
        def marked(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Prefix", prefix)], exc_info)
        return api(environ, marked)
    return built


application = build("plain")
