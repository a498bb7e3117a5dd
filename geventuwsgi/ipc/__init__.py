"""What processes share: the control socket, the worker's commands, the scoreboard.

Begin with `channel.py`, the list of messages. `commands.py` is the side of a worker or
router that acts on them; `scoreboard.py` is the table in shared memory that workers write
and the master reads. Every part of the package may import these; nothing here imports
gevent.
"""
