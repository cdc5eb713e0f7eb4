"""The memory of a process, from Linux's `/proc`."""

from pathlib import Path
from typing import Final, Literal

KIB_PER_MIB: Final = 1024


def rss(pid: int, field: Literal["VmRSS", "VmHWM"]) -> float:
    """Resident memory of a live process in MiB: now (`VmRSS`) or at its peak (`VmHWM`).

    `getrusage` would not do: its peak survives `exec`, so that a subprocess reports at least its parent's.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith(field)]
    return int(kib) / KIB_PER_MIB
