"""What a child process cost: CPU seconds, wall seconds, peak memory; and what machine this is.

CPU seconds are user + system time of the child and of every descendant it waited for (``wait4``).
They hardly move when other people use the machine, which wall seconds do.

Peak memory is the largest sum of resident sizes over the child and its descendants, sampled every
50 ms from /proc (pages that two of them share count twice). Without /proc it is the kernel's mark
of the largest single process, which Linux would have started at the size of the parent.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PERIOD = 0.05  # seconds between two looks at the memory
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """The cost of one finished child."""

    exit_status: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float


def run(command: Sequence[str], log: Path, threads: int) -> Usage:
    """Run ``command`` to its end with ``threads`` OpenMP threads; its output goes into ``log``."""
    start = time.perf_counter()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # its descendants are known by the session they live in
        )
    peak = 0
    try:
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _resident_bytes(child.pid))
            time.sleep(_PERIOD)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    high_water = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Usage(
        exit_status=child.returncode,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=wall,
        peak_mib=(peak or high_water) / _MIB,
    )


def machine() -> str:
    """Processor, number of cores, memory, system, Python: one line."""
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = f"{platform.system()} {platform.machine()}"
    python = platform.python_version()
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {system}, Python {python}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _resident_bytes(session: int) -> int:
    """Sum of the resident sizes of all processes of one session; 0 without /proc."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended between the listing and the look
        fields = text[text.rindex(")") + 2 :].split()  # proc(5), from the third field on
        if int(fields[3]) == session:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")
