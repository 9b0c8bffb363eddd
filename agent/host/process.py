"""Identifies processes, and finds their parent and user (proc(5)).

A process id is reused after the process has ended; together with the start time it identifies one
process of this boot.
"""

from __future__ import annotations

from typing import NamedTuple


class ProcessGone(Exception):
    """There is no such process, or /proc hides it from other users (hidepid=)."""


class Process(NamedTuple):
    """One process of this boot. `started`: clock ticks since boot (proc(5), stat, field 22)."""

    pid: int
    started: int

    def __str__(self) -> str:
        """The form for file names and the audit."""
        return f"{self.pid}-{self.started}"


class ProcessStatus(NamedTuple):
    """A process in /proc: its own name for itself, its parent, and its real user id.

    `contained`: it is in another PID namespace, as in a container. There it has another id.
    """

    process: Process
    name: str
    parent: int
    real_uid: int
    contained: bool = False


def read_status(pid: int, root: str = "/proc") -> ProcessStatus:
    """Read process `pid` in /proc.

    Raises:
        ProcessGone: there is no such process.
        OSError: it cannot be read, for example because no descriptor is left.
    """
    try:
        with open(f"{root}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = file.read(4096)
        with open(f"{root}/{pid}/status", encoding="utf-8", errors="replace") as file:
            status = file.read(8192)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"process {pid}: {error.strerror}") from None
    # A process chooses its name, so it may contain anything: the fields follow the last ")".
    head, _, rest = stat.rpartition(")")
    fields = rest.split()
    try:
        uids = next(line for line in status.splitlines() if line.startswith("Uid:"))
        # One id for each PID namespace, from the reader's to the process's own (Linux 4.1).
        ids = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
        # `rest` begins with field 3 of proc(5): the parent is field 4, the start field 22.
        process = Process(pid, int(fields[19]))
        name, contained = head.partition("(")[2], len(ids.split()) > 2
        return ProcessStatus(process, name, int(fields[1]), int(uids.split()[1]), contained)
    except (StopIteration, ValueError, IndexError):
        raise OSError(f"process {pid}: /proc does not show it whole") from None


def is_running(process: Process, root: str = "/proc") -> bool:
    """Whether this very process still runs. Raises OSError: unknown."""
    try:
        return read_status(process.pid, root).process == process
    except ProcessGone:
        return False
