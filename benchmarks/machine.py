"""What the machine is, and how busy it was with other things than the benchmark."""

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_STAT = Path("/proc/stat")
PACKAGES = ("jaxbuffers", "jax", "flashbax", "brax", "cpprb", "stable-baselines3", "torchrl", "torch", "numpy")


def described() -> str:
    """Return the cores, the processor, and the versions of everything that is measured."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    processor = names[0] if names else platform.machine()
    return f"{os.cpu_count()} cores, {processor}, Python {platform.python_version()}; {versions}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@dataclass
class Watch:
    """Watches the machine from its creation on."""

    start: float = field(default_factory=time.perf_counter)
    used: float = field(default_factory=lambda: _used())
    own: float = field(default_factory=lambda: _own())

    def others(self) -> float | None:
        """Return the share of all cores that other processes took; None where the system does not say."""
        if not _STAT.exists():
            return None
        seconds = (time.perf_counter() - self.start) * (os.cpu_count() or 1)
        return min(max((_used() - self.used - _own() + self.own) / seconds, 0.0), 1.0)


def _used() -> float:
    """CPU seconds that all processes took: user, nice, system, interrupts, and what other guests of the host stole."""
    if not _STAT.exists():
        return 0.0
    ticks = [int(number) for number in _STAT.read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _waiting, hard, soft, stolen = ticks
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """CPU seconds of this process and of those that it started and has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
