"""Several applications in one module, as uWSGI finds them."""

from facts import application as facts


def plain(text):
    def answer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%s at %s" % (text, environ["PATH_INFO"].encode())]
    return answer


applications = {"": plain(b"root"), "/news": plain(b"news"), "/facts": facts}
