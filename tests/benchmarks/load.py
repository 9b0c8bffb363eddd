"""Clients for load: rounds of lookups and pushes, as fast as they are answered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from agent.lookup.server import END_MARK
from tests.parts.raw import Address, Raw


def lookups(path: str, lines: Sequence[bytes], count: int) -> float:
    """Lookups a second: `count` of them one after the other, each on a new connection.

    Raises RuntimeError for an empty answer.
    """
    start = time.perf_counter()
    for number in range(count):
        if len(one_lookup(path, lines[number % len(lines)])) <= len(END_MARK):
            raise RuntimeError("a lookup found nothing")
    return count / (time.perf_counter() - start)


def one_lookup(path: str, line: bytes) -> bytes:
    """Send one lookup and read the answer to its end."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(line)
        answer = b""
        while chunk := sock.recv(65_536):
            answer += chunk
        return answer


CONNECTIONS = 4


def requests(address: Address, messages: Sequence[bytes]) -> float:
    """Requests a second over four kept-alive connections, each with all requests pipelined.

    So the client costs next to nothing, and the server always has a next request to process. Raises
    RuntimeError for an answer that is not 200.
    """
    shares = [messages[number::CONNECTIONS] for number in range(CONNECTIONS)]
    with ExitStack() as stack:
        raws = [stack.enter_context(Raw(address)) for _ in shares]
        for raw, share in zip(raws, shares):
            raw.send(share[0]).answer()
        start = time.perf_counter()
        for raw, share in zip(raws, shares):
            raw.send(b"".join(share[1:]))
        for raw, share in zip(raws, shares):
            for _ in share[1:]:
                answer = raw.answer()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {answer.content!r}")
        return (len(messages) - CONNECTIONS) / (time.perf_counter() - start)


@contextmanager
def flood(address: Address, messages: Sequence[bytes], pause: float = 0.0) -> Iterator[list[int]]:
    """Send these again and again inside the block; the list's one number counts the answers."""
    ending = threading.Event()
    answered = [0]

    def run() -> None:
        with Raw(address) as raw:
            while not ending.is_set():
                for message in messages:
                    raw.send(message).answer()
                    answered[0] += 1
                    if ending.wait(pause) if pause else ending.is_set():
                        return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answered
    finally:
        ending.set()
        thread.join()
