"""The servers of the figures: the daemon, and floors that only answer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h11

from agent.lookup.server import END_MARK
from tests.faults.load import MANY
from tests.parts.daemon import RunningDaemon, merged
from tests.parts.host import ROOT, work_directory
from tests.parts.leases import ed25519_key

# Without asyncio's debug mode, which the tests' daemons use; and with byte code, as in the
# packages, although this environment may forbid to write it.
PLAIN = {"PYTHONASYNCIODEBUG": "", "PYTHONDONTWRITEBYTECODE": ""}


@contextmanager
def daemon(**config: Any) -> Iterator[RunningDaemon]:
    """A daemon with limits for any load, and everything on: SigV4, journal, audit.

    The journal is on tmpfs, as in the packages.
    """
    with work_directory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        config = merged({"journal": f"{memory}/leases.db"}, config)
        made = RunningDaemon(folder, config=merged(MANY, config), environment=PLAIN)
        with made:
            yield made


@contextmanager
def floor(kind: str) -> Iterator[str]:
    """A server of this file in a separate process; yields its Unix socket, or its port."""
    with work_directory() as folder:
        path = folder / "floor.sock"
        with subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.serving", kind, str(path)],
            cwd=ROOT, env={**os.environ, **PLAIN}, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            try:
                address = process.stdout.readline().decode().strip()
                if not address:
                    raise RuntimeError(f"the floor {kind} does not start")
                yield address
            finally:
                process.kill()


class _Constant(asyncio.Protocol):
    """An asyncio protocol that answers every request with the same line, and closes."""

    answer = ed25519_key(1).line("00000000-0000-4000-8000-000000000000").encode() + END_MARK
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        self.transport.write(self.answer)
        self.transport.close()


async def _lookups(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(_Constant, path, backlog=128)
    print(path, flush=True)
    await server.serve_forever()


class _PlainH11(asyncio.Protocol):
    """The plainest kept-alive HTTP server: h11 reads each request, and a constant is the answer.

    It has nothing of ours, so that it is the same floor for every version. asyncio sets
    TCP_NODELAY, as our shell does.
    """

    content = b'{"RequestId": "00000000-0000-4000-8000-000000000000", "Success": true}'
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.http = h11.Connection(h11.SERVER)

    def data_received(self, data: bytes) -> None:
        self.http.receive_data(data)
        while (event := self.http.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                self.transport.write(self.answer())
                self.http.start_next_cycle()

    def answer(self) -> bytes:
        headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Content-Length", str(len(self.content))),
        ]
        head = h11.Response(status_code=200, headers=headers)
        events = (head, h11.Data(data=self.content), h11.EndOfMessage())
        return b"".join(self.http.send(event) or b"" for event in events)


async def _h11(_: str) -> None:
    server = await asyncio.get_running_loop().create_server(_PlainH11, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _shell(_: str) -> None:
    """The daemon's own HTTP shell on TCP, with a constant answer."""
    from agent.host import listeners
    from agent.sources.api.http_server import HttpServer
    from agent.sources.api.message import Request, success

    name = "00000000-0000-4000-8000-000000000000"
    constant = success(name, {"RequestId": name, "Success": True})

    async def answer(request: Request) -> Any:  # noqa: ARG001 - the shell's signature
        return constant

    server = HttpServer(answer, lambda _: None)
    listener = listeners.tcp("127.0.0.1", 0)
    server.start(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    kind, path = sys.argv[1:]
    asyncio.run({"lookups": _lookups, "h11": _h11, "shell": _shell}[kind](path))


def c_client(folder: Path) -> Path:
    """The static client in C, compiled."""
    program = folder / "ask"
    source = Path(__file__).parent / "ask.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    return program


if __name__ == "__main__":
    main()
