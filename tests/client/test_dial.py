"""Connecting to the address that answers: a dead one before it causes no long wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agent.client import dial
from agent.client.trouble import Trouble
from tests.parts.host import free_port


@pytest.fixture
def port() -> Iterator[int]:
    """A port that listens only on 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield int(listener.getsockname()[1])


def test_the_address_that_answers_is_taken(port: int) -> None:
    """Addresses that refuse are passed over, and the one that answers is connected."""
    sock = dial.dial(["127.0.0.2", "::1", "127.0.0.1"], port, 10, "it")
    try:
        assert sock.getpeername() == ("127.0.0.1", port)
        assert sock.getblocking()
    finally:
        sock.close()


def test_one_that_is_silent_holds_nobody_up(port: int) -> None:
    """While one address does not answer, the next one is tried."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.3", port))
        silent.listen(0)
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
            fillers.append(filler)
        sock = dial.dial(["127.0.0.3", "127.0.0.1"], port, 20, "it")
        assert sock.getpeername() == ("127.0.0.1", port)
        sock.close()
        with pytest.raises(Trouble, match="no answer in time"):
            dial.dial(["127.0.0.3"], port, 0.5, "it")
        for filler in fillers:
            filler.close()


def test_when_no_address_answers_every_reason_is_shown() -> None:
    """When no address answers, the error gives each reason once."""
    closed = free_port()
    with pytest.raises(Trouble) as failed:
        dial.dial(["127.0.0.1", "127.0.0.2"], closed, 5, "web-1 port 22")
    assert failed.value.words == "cannot connect to web-1 port 22: Connection refused"


def test_an_unknown_name_is_reported() -> None:
    """A name that cannot be resolved is an error with the name in it."""
    with pytest.raises(Trouble, match=r"no-such-host\.invalid: "):
        dial.dial(["no-such-host.invalid"], 22, 5, "it")


def test_families_take_turns() -> None:
    """IPv6 and IPv4 addresses are tried alternately (RFC 8305)."""
    four = [(socket.AF_INET, ("192.0.2.1", 22)), (socket.AF_INET, ("192.0.2.2", 22))]
    six = [(socket.AF_INET6, (f"2001:db8::{n}", 22, 0, 0)) for n in range(3)]
    mixed = dial.alternate_families([*six, *four])
    assert mixed == [six[0], four[0], six[1], four[1], six[2]]
    assert dial.alternate_families(four) == four
    assert dial.alternate_families([four[0], *six])[0] == four[0]
