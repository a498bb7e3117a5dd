"""`auto`: the usable cores, limited by cgroups; directories imitate the kernel's files."""

from pathlib import Path

import pytest

from geventuwsgi.config.values import numbers


def usable(root: Path, cgroup: str) -> int:
    proc = root / "cgroup"
    proc.write_text(cgroup)
    return numbers.usable_processors(str(proc), str(root / "fs"), cores=8)


def group(root: Path, path: str, **files: str) -> None:
    directory = root / "fs" / path
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(("text", "expected"), [
    ("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000\n", 2), ("50000 100000\n", 1),
    ("1600000 100000\n", 8),
])
def test_version_2(tmp_path: Path, text: str, expected: int) -> None:
    group(tmp_path, "a/b", cpu__max=text)
    assert usable(tmp_path, "0::/a/b\n") == expected


def test_the_lowest_quota_of_all_parents(tmp_path: Path) -> None:
    group(tmp_path, "a", cpu__max="300000 100000\n")
    group(tmp_path, "a/b", cpu__max="max 100000\n")
    assert usable(tmp_path, "0::/a/b\n") == 3


def test_a_path_of_the_host_only_has_the_root(tmp_path: Path) -> None:
    group(tmp_path, "", cpu__max="200000 100000\n")
    assert usable(tmp_path, "0::/kubepods/pod1/x\n") == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("250000", 3)])
def test_version_1(tmp_path: Path, quota: str, expected: int) -> None:
    group(tmp_path, "cpu/docker/x", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert usable(tmp_path, "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n") == expected


def test_without_cgroups(tmp_path: Path) -> None:
    assert numbers.usable_processors(str(tmp_path / "nothing"), str(tmp_path), cores=8) == 8


def test_broken_files_are_skipped(tmp_path: Path) -> None:
    group(tmp_path, "a", cpu__max="what\n")
    assert usable(tmp_path, "0::/a\n") == 8


def test_this_machine() -> None:
    assert numbers.usable_processors() >= 1
