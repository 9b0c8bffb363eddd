"""Floods against a daemon, a log that is read slowly, and what that log says in the end."""

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
from pathlib import Path
from typing import Any, Callable, Optional

from tests.parts.daemon import CREDENTIAL
from tests.parts.raw import Raw
from tests.parts.signed import Signer, push, sign

FLOODER: dict[str, Any] = {**CREDENTIAL, "access_key_id": "AKIAFLOODER000000000"}
"""A credential that is used by whoever floods."""

# Requests in one write: the daemon is kept busy, and each is answered before the next are sent.
_BATCH = 25


class SlowLog:
    """A named pipe that is read at so many bytes a second; stdout of a daemon under test."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.path = folder / "log"
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._rate = rate
        self._data = bytearray()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set() or select.select([self._reader], [], [], 0)[0]:
            with contextlib.suppress(BlockingIOError):
                self._data += os.read(self._reader, self._rate // 50)
            time.sleep(0.02)

    def end(self) -> None:
        """Read what is left, at the same rate."""
        self._over.set()
        self._thread.join()

    def close(self) -> None:
        """Read what is left, and close."""
        self.end()
        os.close(self._reader)

    def records(self, **wanted: Any) -> list[dict[str, Any]]:
        """The records so far that have these fields and values."""
        lines = bytes(self._data).splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [each for each in records if wanted.items() <= each.items()]


@dataclass(frozen=True)
class Target:
    """What is flooded: a port, over TLS if there is a file of the authority, and lookups."""

    port: int
    lookup_socket: str
    authority: Optional[str] = None

    def connect(self, source: str) -> Raw:
        """A connection from that address."""
        tls = None if self.authority is None else ssl.create_default_context(cafile=self.authority)
        return Raw(("127.0.0.1", self.port), source=source, tls=tls)

    def repeat(self, requests: list[bytes], source: str, until: float) -> int:
        """Send these in turns on one connection, read each answer; how many were answered."""
        endless, sent = itertools.cycle(requests), 0
        with contextlib.suppress(OSError, EOFError), self.connect(source) as raw:
            while sent == 0 or time.monotonic() < until:
                raw.send(b"".join(itertools.islice(endless, _BATCH)))
                for _ in range(_BATCH):
                    raw.answer()
                sent += _BATCH
        return sent

    def ask(self, line: bytes, until: float) -> None:
        """Look up again and again."""
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.lookup_socket)
                sock.sendall(line)
                while sock.recv(65_536):
                    pass


Flood = Callable[[Target, float], int]
"""Floods a target until then (time.monotonic); returns how many pushes were answered."""


def replays(target: Target, until: float) -> int:
    """One captured request, as often as it goes."""
    signer = Signer(key=FLOODER["access_key_id"])
    captured = sign(push(), signer).raw()
    return target.repeat([captured], "127.1.0.1", until)


def throttled(target: Target, until: float) -> int:
    """Pushes of one credential, each signed by itself, far above its rate."""
    signer = Signer(key=FLOODER["access_key_id"])
    signed = [sign(push(InstanceOSUser="flood"), signer).raw() for _ in range(1000)]
    return target.repeat(signed, "127.1.0.2", until)


def strangers(target: Target, until: float) -> int:
    """Unsigned requests with as much in them as is written, each few from another address."""
    call, sent = push(InstanceOSUser="root").plus("User-Agent", "\\" * 1024).raw(), 0
    for number in itertools.count():
        if time.monotonic() >= until:
            break
        source = f"127.2.{number // 250 % 250}.{1 + number % 250}"
        sent += target.repeat([call], source, time.monotonic())
    return sent


def mismatches(target: Target, until: float) -> int:
    """Lookups with a key that nobody pushed, for the user whose keys are live."""
    target.ask(b"root SHA256:" + b"A" * 43 + b"\n", until)
    return 0


def repeated_lookups(target: Target, until: float) -> int:
    """A helper that was taken over: a user's live key, again and again."""
    target.ask(b"ec2-user\n", until)
    return 0


ALL: tuple[Flood, ...] = (replays, throttled, strangers, mismatches, repeated_lookups)


def _run(flood: Flood, target: Target, until: float, sent: Connection) -> None:
    sent.send(flood(target, until))


class Flooding:
    """Floods, each a process of its own; `until` is when they end (time.monotonic)."""

    def __init__(self, target: Target, seconds: float, floods: Sequence[Flood] = ALL) -> None:
        self.until = time.monotonic() + seconds
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for flood in floods:
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_run, args=(flood, target, self.until, writer))
            process.start()
            writer.close()
            self._pipes.append(reader)
            self._processes.append(process)

    def end(self) -> int:
        """Wait for their end; how many pushes were answered. Raises EOFError: one has failed."""
        sent = sum(int(reader.recv()) for reader in self._pipes)
        for process in self._processes:
            process.join()
        return sent

    def __enter__(self) -> Flooding:
        """Flooding."""
        return self

    def __exit__(self, *exception: object) -> None:
        """None of them is left, however the block ended."""
        for process in self._processes:
            process.terminate()
            process.join()


def missing(records: list[dict[str, Any]]) -> list[int]:
    """The numbers that are not there, of one run's records, in the order of the log."""
    numbers = [record["seq"] for record in records]
    assert len({record["run"] for record in records}) == 1
    assert numbers == sorted(set(numbers))
    return sorted(set(range(1, numbers[-1])) - set(numbers))


def decided(records: list[dict[str, Any]], event: str) -> int:
    """How many decisions a log tells of: each by itself, or together with others."""
    return sum(
        sum(n for name, n in each["decisions"].items() if name.startswith(f"{event}/"))
        if each["event"] == "audit"
        else each["event"] == event
        for each in records
    )
