"""Configuration: one table of options, several ways to write them, one frozen `Settings`.

Rules:

- Each option is one row of the table; argv, INI, environment, `--help` and the checks all use it.
- Each value knows where it was set: file, line and the name as written.
- A line keeps the meaning it has in the server it was written for; an unknown name is reported.
- Nothing here imports gevent or changes the process; that is done in `boot`.

Begin with `load/arguments.py`. Most other packages only need `settings.py`.
"""
