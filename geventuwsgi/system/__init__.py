"""Linux: limits, signals, forks, pid files, terminals, programs. Nothing here knows HTTP.

Each module takes plain arguments and can be read by itself; `program` runs commands with the
limits of `limits`.
"""
