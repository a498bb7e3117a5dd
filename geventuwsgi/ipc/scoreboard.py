"""The scoreboard: what each worker is doing, in memory that all processes share.

A table of signed 64-bit cells, one row per worker process. It is in a memfd, which needs no
disk (a read-only container will do) and disappears with its last user.

Every process can write the table, so what it says of a worker may be another's word. The
master acts on a memory of one row that it shares with that worker alone (`create_row`), and
from which the worker copies its row to the table (`Row.share`).

Rules:

- A row is written by the process that owns it, and by the master only while it has no
  owner (`Row.vacate`, `Scoreboard.retire`).
- The size of a memory is sealed: a process that cut it would have the others killed by SIGBUS.
- Row 0 belongs to the master: the counters of retired rows are added to it, so that the
  `total` of a counter never decreases. One that is read while counters move is read again.
- An aligned 8-byte store through a memoryview of format 'q' is a single store on every
  machine that CPython runs on. No lock is taken: a reader may see a row between two
  stores, but never half a number.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

# Indexes into `Row.cells`.
PID = 0                 # of the process that owns the row; 0 = none
WORKER = 1              # the worker's number, from 1
GENERATION = 2          # 1 at the first start, one more with each reload
STATE = 3               # one of STATE_*
STARTED = 4             # unix time in seconds
HEARTBEAT_NS = 5        # time.monotonic_ns() of the last heartbeat; 0 = none yet
ACCEPTING = 6           # 1 while the worker accepts connections
CORES = 7               # application slots
CONNECTIONS = 8         # open now
IN_PROGRESS = 9         # requests inside the application now
RSS = 10                # bytes, as last measured by the worker itself
REQUESTS = 11           # counters, which only increase, up to RESPAWNS
EXCEPTIONS = 12
HARAKIRIS = 13
BYTES_SENT = 14
RESPONSE_TIME_US = 15   # sum over all requests
RESPAWNS = 16           # how often the master replaced the worker
VSZ = 17                # address space in bytes, as last measured by the worker itself
CPU_US = 18             # CPU time of this process
ROLE = 19               # one of ROLE_*
FULL_SINCE_NS = 20      # time.monotonic_ns() when the worker last noticed that no slot was free
PROCESS_REQUESTS = 21   # requests of this process alone
LOADED_S = 22           # seconds that the applications took to load
APP_REQUESTS = range(23, 31)    # requests of this process by application, the first eight
VERSION = 31            # of row 0 alone: odd while the master moves counters between rows

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
STATUSES = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
# Upper bounds of the durations of requests, without upgraded connections; in seconds. A longer
# one is in the last cell.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RESPONSES = range(32, 32 + len(METHODS) * len(STATUSES))    # by method, then status
DURATIONS = range(RESPONSES.stop, RESPONSES.stop + len(BOUNDS) + 1)
DURATION_US = DURATIONS.stop    # sum of these durations

# What a worker counts itself.
OF_PROCESS = (*range(REQUESTS, RESPAWNS), *RESPONSES, *DURATIONS, DURATION_US)
COUNTERS = (*OF_PROCESS, RESPAWNS)
# Their names for another version of this server, which may have other cells.
_NAMES: Mapping[str, Sequence[int]] = {
    "counters": range(REQUESTS, RESPAWNS + 1), "responses": RESPONSES,
    f"durations {BOUNDS}": (*DURATIONS, DURATION_US)}
GAUGES = (PID, STATE, HEARTBEAT_NS, ACCEPTING, CONNECTIONS, IN_PROGRESS, RSS, VSZ, CPU_US,
          FULL_SINCE_NS, PROCESS_REQUESTS, LOADED_S, *APP_REQUESTS)
OWN = (*range(REQUESTS), *range(VSZ, APP_REQUESTS.stop))     # all but the counters

ROLE_WORKER, ROLE_ROUTER, ROLE_MONITOR = range(3)
STATE_DEAD, STATE_BOOTING, STATE_READY, STATE_DRAINING = range(4)

CELLS = 96              # 768 bytes: rows of two workers share no cache line
SIZE = CELLS * 8
GREATEST = 2 ** 63 - 1
PAGE = os.sysconf("SC_PAGE_SIZE")
_REPEATS = 1000         # of `total`: the master may have died while it moved counters


def _memory(name: str, size: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def create_row() -> int:
    """Create the memory that the master shares with one worker; return its descriptor."""
    return _memory("geventuwsgi-row", SIZE)


class Row:
    """One worker's row.

    Attributes:
        index: the row's number in the table.
        cells: the numbers, a writable memoryview of format 'q'; index it with the
            constants of this module. Of a row that is `owned` they are in its own memory, and
            the counters begin at 0.
    """

    __slots__ = ("_before", "_table", "cells", "index")

    def __init__(self, index: int, cells: memoryview) -> None:
        self.index = index
        self.cells = self._table = cells
        self._before: list[int] = []    # OF_PROCESS, by the processes before this one

    def owned(self, fd: int) -> "Row":
        """Return this row with its cells in the memory of `create_row`."""
        row = Row(self.index, self._table)
        row.cells = memoryview(mmap.mmap(fd, SIZE)).cast("q")
        row._before = [min(max(self._table[field], 0), GREATEST // 2) for field in OF_PROCESS]
        return row

    @property
    def memory(self) -> tuple[int, int]:
        """Virtual and resident bytes of the owner, as last measured."""
        return self.cells[VSZ], self.cells[RSS]

    def set(self, field: int, value: int) -> None:
        """Write one field, at once also for the other processes."""
        self.cells[field] = self._table[field] = value

    def share(self) -> None:
        """Copy the row to the table, where other processes read it."""
        cells, table = self.cells, self._table
        if cells is not table:
            for field in OWN:
                table[field] = cells[field]
            for field, before in zip(OF_PROCESS, self._before):
                table[field] = before + cells[field]

    def beat(self, connections: int) -> None:
        """Write a heartbeat and the number of open connections."""
        self.cells[HEARTBEAT_NS] = time.monotonic_ns()
        self.cells[CONNECTIONS] = connections
        self.share()

    def publish(self, connections: int, in_progress: int, counters: Sequence[int],
                by_application: Sequence[int] = ()) -> None:
        """Write a heartbeat and the worker's numbers.

        Args:
            connections: open now.
            in_progress: requests inside the application now.
            counters: what the process has counted itself, in the order of OF_PROCESS.
            by_application: its requests by application.
        """
        cells = self.cells
        cells[IN_PROGRESS] = in_progress
        for field, value in zip(OF_PROCESS, counters):
            cells[field] = value
        cells[PROCESS_REQUESTS] = counters[0]
        for field, value in zip(APP_REQUESTS, by_application):
            cells[field] = value
        self.beat(connections)

    def measure(self) -> None:
        """Write the memory and CPU time of this process, which owns the row."""
        self.cells[CPU_US] = time.process_time_ns() // 1000
        try:
            with open("/proc/self/statm", "rb") as file:
                pages = file.read().split()
        except OSError:
            return  # no descriptor is free: the memory stays as it was measured last
        self.cells[VSZ] = int(pages[0]) * PAGE
        self.cells[RSS] = int(pages[1]) * PAGE

    @property
    def respawns(self) -> int:
        """How often the master replaced the worker; set by the master only."""
        return self._table[RESPAWNS]

    @respawns.setter
    def respawns(self, times: int) -> None:
        self._table[RESPAWNS] = _sum(times, 0)

    def vacate(self) -> None:
        """Forget the owner's memory, and clear its gauges in the table. Master only."""
        self.cells = self._table
        for cell in GAUGES:
            self._table[cell] = 0


def _sum(first: int, second: int) -> int:
    """Add numbers of the table, whatever a process has written there."""
    return max(0, min(first + second, GREATEST))


class Scoreboard:
    """A table of rows in one memfd: `create` makes it, `open` maps it in another process.

    Attributes:
        fd: the memfd, close-on-exec: to be handed to each process that is executed and
            reads it. -1 if there is none.
    """

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self.fd = fd
        self._memory = memory
        self._count = len(memory) // SIZE
        self._cells = memoryview(memory)[:SIZE * self._count].cast("q")

    @classmethod
    def create(cls, rows: int) -> "Scoreboard":
        """Make a board with `rows` rows for workers (1 to `rows`) and the master's row 0."""
        return cls.open(_memory("geventuwsgi-scoreboard", (rows + 1) * SIZE))

    @classmethod
    def alone(cls) -> "Scoreboard":
        """Make a board of one row for a process without a master."""
        return cls(-1, mmap.mmap(-1, 2 * SIZE))

    @classmethod
    def open(cls, fd: int) -> "Scoreboard":
        """Map the board of a descriptor of `create`."""
        return cls(fd, mmap.mmap(fd, os.fstat(fd).st_size))

    def __len__(self) -> int:
        """Return the number of rows for workers."""
        return self._count - 1

    def row(self, index: int) -> Row:
        """Return row `index`.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"row {index} of {self._count}")
        return Row(index, self._cells[index * CELLS:(index + 1) * CELLS])

    def rows(self) -> Iterator[Row]:
        """Yield the rows that have an owner."""
        for index in range(1, self._count):
            if self._cells[index * CELLS + PID]:
                yield self.row(index)

    def total(self, field: int) -> int:
        """Return the sum of a field over all rows, retired ones included."""
        for _ in range(_REPEATS):
            version = self._cells[VERSION]
            found = sum(self._cells[field::CELLS])
            if not version & 1 and version == self._cells[VERSION]:
                break
            os.sched_yield()
        return found

    def sums(self) -> dict[str, list[int]]:
        """Return the totals of all counters for `add` of the next version of this server."""
        return {name: [self.total(field) for field in fields] for name, fields in _NAMES.items()}

    def add(self, sums: Mapping[str, Sequence[int]]) -> None:
        """Add the totals of an earlier board. Master only."""
        past = self.row(0).cells
        for name, fields in _NAMES.items():
            for field, value in zip(fields, sums.get(name, ())):
                past[field] = _sum(past[field], value)

    def retire(self, index: int) -> None:
        """Add the counters of row `index` to row 0, and clear it. Master only."""
        row, past = self.row(index), self.row(0)
        with self._moving():
            for cell in COUNTERS:
                past.cells[cell] = _sum(past.cells[cell], row.cells[cell])
            for cell in range(CELLS):
                row.cells[cell] = 0

    def promote(self, old: Row, new: Row) -> None:
        """Move the respawns of a worker to its replacement, and count this one. Master only."""
        with self._moving():
            new.respawns += old.respawns + 1
            old.respawns = 0

    @contextmanager
    def _moving(self) -> Iterator[None]:
        version = self._cells[VERSION] | 1
        self._cells[VERSION] = version
        yield
        self._cells[VERSION] = version + 1 & GREATEST
