"""Configuration: one table of options, several ways to write them, one frozen result.

Rules of the wing:

- Every option is one row of one table; argv, INI, environment, `--help` and the checks
  all read the row. An option is written nowhere else.
- Every value remembers where it came from: file, line and the name as written.
- The same meaning for each line that the operator wrote. A name in no row is a typo to
  be told, never silently kept.
- Imports without gevent, and does nothing to the process: deeds are `boot`'s.
"""
