"""Found by a glob in pythonpath."""

NAME = "one"
