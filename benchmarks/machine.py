"""How busy the machine was with other things than the benchmark."""

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

_STAT = Path("/proc/stat")


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
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
