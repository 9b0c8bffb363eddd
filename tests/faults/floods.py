"""Floods against a daemon, a log that is read slowly, and checks of that log's records."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Callable, Optional

from tests.parts.daemon import CREDENTIAL
from tests.parts.part import Part
from tests.parts.raw import Raw
from tests.parts.signed import Signer, push, sign

FLOODER: dict[str, Any] = {**CREDENTIAL, "access_key_id": "AKIAFLOODER000000000"}
"""The credential that the flood uses."""

# Requests per write. All of them are answered before the next batch is sent.
_BATCH = 25


class SlowLog(Part):
    """A named pipe for a daemon's stdout, read at `rate` bytes a second; 0: not until `speed_up`.

    At the end, whatever is left is read at that rate.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        self.prefix = ["sh", "-c", f'exec "$@" >{folder / "log"}', "sh"]
        self._path = folder / "log"
        self._rate = rate
        self._data = bytearray()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._reader = -1

    def begin(self) -> None:
        """Make the pipe and start to read."""
        os.mkfifo(self._path)
        self._reader = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        self._thread.start()

    def finish(self) -> None:
        """Read the rest and close the pipe."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._reader >= 0:
            os.close(self._reader)

    def speed_up(self) -> None:
        """Read without a limit from now on."""
        self._rate = 100_000_000

    def _read(self) -> None:
        while not self._over.is_set() or select.select([self._reader], [], [], 0)[0]:
            with contextlib.suppress(BlockingIOError):
                self._data += os.read(self._reader, self._rate // 50)
            time.sleep(0.02)

    def records(self, **wanted: Any) -> list[dict[str, Any]]:
        """The records so far that have these fields and values."""
        lines = bytes(self._data).splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [each for each in records if wanted.items() <= each.items()]


@dataclass(frozen=True)
class Target:
    """What is flooded: a port (with TLS if there is an authority's file) and the lookup socket."""

    port: int
    lookup_socket: str
    authority: Optional[str] = None

    def connect(self, source: str) -> Raw:
        """Open a connection from this source address."""
        tls = None if self.authority is None else ssl.create_default_context(cafile=self.authority)
        return Raw(("127.0.0.1", self.port), source=source, tls=tls)

    def repeat(self, requests: list[bytes], source: str, until: float) -> int:
        """Send these requests in turn on one connection; return how many were answered."""
        endless, sent = itertools.cycle(requests), 0
        with contextlib.suppress(OSError, EOFError), self.connect(source) as raw:
            while sent == 0 or time.monotonic() < until:
                raw.send(b"".join(itertools.islice(endless, _BATCH)))
                for _ in range(_BATCH):
                    raw.answer()
                sent += _BATCH
        return sent

    def ask(self, line: bytes, until: float) -> None:
        """Send the same lookup again and again."""
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.lookup_socket)
                sock.sendall(line)
                while sock.recv(65_536):
                    pass


Flood = Callable[[Target, float], int]
"""Floods a target until then (time.monotonic); returns how many pushes were answered."""


def replays(target: Target, until: float) -> int:
    """Send one captured request again and again."""
    signer = Signer(key=FLOODER["access_key_id"])
    captured = sign(push(), signer).raw()
    return target.repeat([captured], "127.1.0.1", until)


def throttled(target: Target, until: float) -> int:
    """Send pushes of one credential, each with its own signature, far above its rate."""
    signer = Signer(key=FLOODER["access_key_id"])
    signed = [sign(push(InstanceOSUser="flood"), signer).raw() for _ in range(1000)]
    return target.repeat(signed, "127.1.0.2", until)


def strangers(target: Target, until: float) -> int:
    """Send unsigned requests whose audit records are as long as possible, from many addresses."""
    call, sent = push(InstanceOSUser="root").plus("User-Agent", "\\" * 1024).raw(), 0
    for number in itertools.count():
        if time.monotonic() >= until:
            break
        source = f"127.2.{number // 250 % 250}.{1 + number % 250}"
        sent += target.repeat([call], source, time.monotonic())
    return sent


def mismatches(target: Target, until: float) -> int:
    """Look up a key that was not pushed, for a user who has live keys."""
    target.ask(b"root SHA256:" + b"A" * 43 + b"\n", until)
    return 0


def repeated_lookups(target: Target, until: float) -> int:
    """Look up a user's live key again and again, as a compromised helper could."""
    target.ask(b"ec2-user\n", until)
    return 0


PUSHES: tuple[Flood, ...] = (replays, throttled, strangers)
LOOKUPS: tuple[Flood, ...] = (replays, mismatches, repeated_lookups)


def _run(flood: Flood, target: Target, until: float, sent: Connection) -> None:
    sent.send(flood(target, until))


class Flooding(Part):
    """Floods, each in its own process; `until` is when they end (time.monotonic)."""

    def __init__(self, target: Target, seconds: float, floods: Sequence[Flood]) -> None:
        self._target = target
        self._seconds = seconds
        self._floods = floods
        self._pipes: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        self.until = 0.0

    def begin(self) -> None:
        """Start the processes."""
        self.until = time.monotonic() + self._seconds
        context = multiprocessing.get_context("spawn")
        for flood in self._floods:
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(flood, self._target, self.until, writer))
            self._pipes.append(reader)
            process.start()
            self._processes.append(process)
            writer.close()

    def wait(self) -> int:
        """Wait for the end; return how many pushes were answered.

        Raises EOFError if a flood failed.
        """
        sent = sum(int(reader.recv()) for reader in self._pipes)
        for process in self._processes:
            process.join()
        return sent

    def finish(self) -> None:
        """Terminate the processes that still run."""
        for process in self._processes:
            process.terminate()
            process.join()
        for reader in self._pipes:
            reader.close()


def missing(records: list[dict[str, Any]]) -> list[int]:
    """The sequence numbers that are missing from one run's records."""
    numbers = [record["seq"] for record in records]
    assert len({record["run"] for record in records}) == 1
    assert numbers == sorted(set(numbers))
    return sorted(set(range(1, numbers[-1])) - set(numbers))


def decided(records: list[dict[str, Any]], event: str) -> int:
    """How many decisions a log reports, in single records and in summaries."""
    return sum(
        sum(n for name, n in each["decisions"].items() if name.startswith(f"{event}/"))
        if each["event"] == "audit"
        else each["event"] == event
        for each in records
    )
