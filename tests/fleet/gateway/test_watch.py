"""`sixtykey fleet hosts --watch` on a terminal, with a whole fleet."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.parts.command import InTerminal, run
from tests.parts.daemon import INSTANCE_ID
from tests.parts.host import work_directory
from tests.parts.whole_fleet import WholeFleet

HIDE, SHOW = "\033[?25l", "\033[?25h"


@pytest.fixture(scope="module")
def fleet() -> Iterator[WholeFleet]:
    """A whole fleet with one member, host-0."""
    with work_directory() as directory, WholeFleet(directory, gateways=1) as running:
        yield running


def words(fleet: WholeFleet, *more: str) -> tuple[str, ...]:
    """The command line."""
    return ("fleet", "hosts", "--watch", "--folder", fleet.home.folder, *more)


def test_watch_follows_hosts_and_ends_on_interrupt(fleet: WholeFleet) -> None:
    """A host that leaves the bus disappears, and appears again when it is back; ^C ends with 0."""
    connector = fleet.member.connector
    with InTerminal(*words(fleet)) as screen:
        screen.wait_for(INSTANCE_ID)
        assert screen.seen.startswith(HIDE)
        assert "host-0" in screen.seen
        connector.kill()
        screen.wait_for("no such host is connected")
        screen.seen = ""
        connector.begin()
        screen.wait_for(INSTANCE_ID)
        screen.press("\x03")
        assert screen.end() == 0
        assert screen.seen.endswith(SHOW)
        assert "Traceback" not in screen.seen


def test_watch_shows_hosts_whose_daemon_is_away(fleet: WholeFleet) -> None:
    """A connected host whose daemon has stopped is shown as one that does not answer."""
    fleet.member.daemon.stop()
    try:
        with InTerminal(*words(fleet)) as screen:
            screen.wait_for("DOES NOT ANSWER")
            screen.press("\x03")
            assert screen.end() == 0
    finally:
        fleet.member.daemon.start()


def test_watch_survives_the_bus(fleet: WholeFleet) -> None:
    """--watch reports a bus that goes away, and shows the hosts again on its return."""
    (server,) = fleet.bus.servers
    with InTerminal(*words(fleet)) as screen:
        screen.wait_for(INSTANCE_ID)
        server.stop()
        screen.wait_for("the bus does not answer")
        screen.seen = ""
        server.start()
        screen.wait_for(INSTANCE_ID)
        screen.press("\x03")
        assert screen.end() == 0


def test_watch_ends_cleanly_when_terminated(fleet: WholeFleet) -> None:
    """SIGTERM ends --watch with 0 and restores the cursor; a pattern that fits nothing is said."""
    with InTerminal(*words(fleet, "db-*")) as screen:
        screen.wait_for("no such host is connected")
        screen.signal(signal.SIGTERM)
        assert screen.end() == 0
        assert screen.seen.endswith(SHOW)
        assert "Traceback" not in screen.seen


def test_watch_without_a_terminal_prints_once(fleet: WholeFleet) -> None:
    """Without a terminal, --watch prints the list once and without escape sequences."""
    done = run(*words(fleet))
    assert (done.code, INSTANCE_ID in done.out, "\033" in done.out) == (0, True, False)
