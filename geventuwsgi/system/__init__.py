"""Linux: users, limits, signals, forks, pid files, terminals, programs. Nothing here knows HTTP.

Each module takes plain arguments and can be read by itself; `program` runs commands with the
user and limits of `privileges` and `limits`.
"""
