"""CPU and memory of a process and its descendants, from /proc."""

import os
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """List a process and its descendants, the process first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat:
                parents[int(entry.name)] = int(stat[1])
    found = [pid]
    for member in found:
        found.extend(sorted(child for child, parent in parents.items() if parent == member))
    return found


def cpu_us(pid: int) -> float:
    """Add up user and system time of the tree, in microseconds, ended children included."""
    total = 0
    for member in tree(pid):
        stat = _stat(member)
        total += sum(int(ticks) for ticks in stat[11:15])
    return total * TICK_US


def pss_kb(pid: int) -> int:
    """Read the proportional set size of one process, in KiB."""
    return _field(pid, "smaps_rollup", "Pss")


def reset_peak(pid: int) -> None:
    """Reset the peak of the resident size to the present size (proc(5))."""
    for member in tree(pid):
        Path(f"/proc/{member}/clear_refs").write_text("5")


def peak_kb(pid: int) -> int:
    """Add up the peaks of the resident size of the tree, in KiB."""
    return sum(_field(member, "status", "VmHWM") for member in tree(pid))


def title(pid: int) -> str:
    """Read the title of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def _stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat after the name: state, parent, ... (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _field(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
