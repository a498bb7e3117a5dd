"""Where servers find the blog under the name that uWSGI looks for."""

from wsgi import app as application

__all__ = ["application"]
