"""How many processors this process may use: what `processes = auto` means.

A container is limited by its cgroup's quota, not by the number of cores it sees:
`os.cpu_count()` on a large host starts dozens of workers in a pod of one core.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath


def usable(proc: str = "/proc/self/cgroup", mounted: str = "/sys/fs/cgroup",
           cores: int | None = None) -> int:
    """Return the usable cores, or the cgroup's quota rounded up if that is less; at least 1.

    Args:
        proc: the file that says to which cgroup this process belongs (cgroups(7)).
        mounted: where the cgroup file systems are mounted.
        cores: the cores that this process may run on; None asks the kernel.
    """
    limits = [math.ceil(quota) for quota in quotas(proc, mounted)]
    return max(1, min([cores or len(os.sched_getaffinity(0)), *limits]))


def quotas(proc: str, mounted: str) -> Iterator[float]:
    """Yield each quota on the way from this process's cgroup to the root, in processors."""
    try:
        lines = Path(proc).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _climb(Path(mounted), path, _version2)
        elif "cpu" in controllers.split(","):
            yield from _climb(Path(mounted, "cpu"), path, _version1)


def _climb(root: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the quota of a cgroup and of each above it; a parent's bounds its children."""
    # Inside a container without a cgroup namespace the path is the host's, and only the
    # root of the mount is ours: missing directories are passed over.
    group = PurePosixPath("/", path)
    for directory in (group, *group.parents):
        try:
            quota = read(root / str(directory).lstrip("/"))
        except (OSError, ValueError):
            continue
        if quota is not None:
            yield quota


def _version2(directory: Path) -> float | None:
    """Read `cpu.max`: "quota period" in microseconds, or "max period"."""
    quota, period = (directory / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _version1(directory: Path) -> float | None:
    """Read the quota of cgroups of the first version; -1 is none."""
    quota = int((directory / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((directory / "cpu.cfs_period_us").read_text())
