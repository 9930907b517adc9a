"""How much memory there is, as the machine and its control groups say."""

from __future__ import annotations

from pathlib import Path

from batching.memory import Memory, host

GB = 1_000_000_000
MEMINFO = f"MemTotal: {16 * GB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {8 * GB // 1024} kB\nHugePages_Total: 0\n"


def machine(root: Path, group: str = "0::/\n") -> Path:
    """A file system like Linux', without limits."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text(group)
    return root


def limited(directory: Path, limit: str, used: int, cached: int, *, v1: bool = False) -> None:
    """A control group with a limit, `used` bytes of which are taken, `cached` of those by files."""
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if v1
        else ("memory.max", "memory.current", "inactive_file")
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / names[0]).write_text(limit)
    (directory / names[1]).write_text(str(used))
    (directory / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


def test_a_machine_without_limits(tmp_path: Path) -> None:
    """What the kernel calls available, and all there is."""
    assert host(machine(tmp_path)) == Memory(8 * GB // 1024 * 1024, 16 * GB // 1024 * 1024)


def test_a_containers_limit(tmp_path: Path) -> None:
    """Its limit less what it has taken; pages of files can be had back."""
    limited(machine(tmp_path) / "sys/fs/cgroup", str(2 * GB), GB, GB // 4)
    assert host(tmp_path) == Memory(GB + GB // 4, 2 * GB)


def test_a_units_limit_and_that_of_its_slice(tmp_path: Path) -> None:
    """The tightest of all groups around the process counts; "max" is none."""
    groups = machine(tmp_path, "0::/system.slice/rerankd.service\n") / "sys/fs/cgroup"
    limited(groups / "system.slice/rerankd.service", "max", 1, 0)
    assert host(tmp_path).total > 15 * GB
    limited(groups / "system.slice", str(3 * GB), GB, 0)
    assert host(tmp_path) == Memory(2 * GB, 3 * GB)
    limited(groups / "system.slice/rerankd.service", str(GB), GB, 0)
    assert host(tmp_path) == Memory(0, GB)


def test_version_1(tmp_path: Path) -> None:
    """The memory controller's own hierarchy, seen from the host and from a container that has the group as its root; no limit is a huge one."""
    groups = machine(tmp_path, "9:cpu,cpuacct:/x\n8:memory:/libpod-1\n0::/\n") / "sys/fs/cgroup/memory"
    limited(groups, str(9223372036854771712), GB, 0, v1=True)
    assert host(tmp_path).total > 15 * GB
    limited(groups / "libpod-1", str(GB), GB // 2, 0, v1=True)
    assert host(tmp_path) == Memory(GB // 2, GB)
    limited(groups, str(GB // 2), GB // 4, 0, v1=True)
    assert host(tmp_path) == Memory(GB // 4, GB // 2)


def test_this_machine() -> None:
    """Something is free, and not more than there is."""
    found = host()
    assert 0 < found.free <= found.total


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    """No /proc: all memory counts as free."""
    found = host(tmp_path)
    assert found.free == found.total > 1 << 27
