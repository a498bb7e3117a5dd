"""The monitor: a process that serves statistics of the whole instance (`stats`, `metrics`).

It only reads the scoreboard, so a busy master or worker neither delays it nor is delayed. Begin
with `process`; `uwsgi_json` and `prometheus` are the formats, `figures` is what both take from the
scoreboard and the sockets.
"""
