"""An attacker controls a host's connector and its source socket, and gains no access by that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from agent.config.fleet_limits import FLEET
from agent.config.key_policy import KeyPolicy
from agent.fleet.messages import documents, lease_exchange
from agent.fleet.messages.explanation import Question
from agent.fleet.messages.lease_exchange import Acknowledgement, LeaseMessage
from agent.fleet.messages.signing import PrivateKey
from agent.sources.feed.members import MAX_BYTES
from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.forged_envelopes import with_body, with_signature
from tests.parts.host import work_directory
from tests.parts.signed import fresh_key
from tests.parts.stolen_connector import StolenConnector
from tests.parts.whole_fleet import WholeFleet, live, push_locally, served


class Attacked:
    """A whole fleet whose host has lost its connector, and leases for that host."""

    def __init__(self, fleet: WholeFleet) -> None:
        self.fleet = fleet
        self.member = fleet.member

    def lease(self, **changes: Any) -> LeaseMessage:
        """A lease as the gateway makes it, issued now."""
        now, issuer = int(time.time() * 1000), self.fleet.home.issuer()
        members: dict[str, Any] = {
            "host": INSTANCE_ID,
            "os_user": "alice",
            "key": fresh_key().rpartition(" ")[0],
            "issued_at": now,
            "ends_at": now + 60_000,
            "nonce": PrivateKey.generate().seed[:16],
            "issuer": issuer.public,
            "request_id": "00000000-0000-4000-8000-000000000000",
            "principal": "AKIA",
            "source": "192.0.2.7",
            "conditions": KeyPolicy(lifetime=60),
            "zone": ZONE,
        }
        return LeaseMessage(**{**members, **changes})

    def good(self, **changes: Any) -> bytes:
        """A sealed lease that its issuer signed."""
        return self.lease(**changes).seal(self.fleet.home.issuer())


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    """A whole fleet, with the host's connector killed."""
    with work_directory() as directory, WholeFleet(directory, gateways=1) as fleet:
        fleet.member.connector.kill()
        yield Attacked(fleet)


def test_a_signed_lease_is_taken_once(attacked: Attacked) -> None:
    """A valid lease is taken once; sent again, also after a restart, it lives no longer."""
    sealed = attacked.good()
    with StolenConnector(attacked.member) as thief:
        first = thief.ask(sealed)
        lines = served(attacked.member, "alice")
        assert first["request_id"] in lines
        left = live(attacked.member)[0]["SecondsLeft"]
        again = [thief.ask(sealed) for _ in range(3)]
    attacked.member.daemon.kill()
    attacked.member.daemon.start()
    with StolenConnector(attacked.member) as thief:
        again.append(thief.ask(sealed))
    assert {each["ends_at"] for each in again} == {None}
    assert {each["request_id"] for each in again} == {first["request_id"]}
    assert served(attacked.member, "alice") == lines
    assert [each["SecondsLeft"] < left for each in live(attacked.member)] == [True]


def test_a_forged_lease_is_refused(attacked: Attacked) -> None:
    """A lease that was altered, has another kind, or is signed by another key gives no key."""
    own = PrivateKey.generate()
    sealed = attacked.good(os_user="bob")
    forged = [
        attacked.lease(os_user="mallory").seal(own),
        attacked.lease(os_user="mallory", issuer=own.public).seal(own),
        with_body(sealed, os_user="mallory"),
        with_signature(attacked.good(os_user="mallory")),
        documents.seal("certificate", attacked.lease(os_user="mallory").content(), own),
        attacked.good(os_user="mallory", host="i-00000000000000002"),
        attacked.good(os_user="mallory", issued_at=1, ends_at=60_001),
        attacked.good(os_user="mallory", zone="eu-central-1a"),
    ]
    with StolenConnector(attacked.member) as thief:
        said = [thief.ask(each) for each in forged]
    assert all("code" in each for each in said)
    assert served(attacked.member, "mallory") == ""


@pytest.mark.parametrize(
    "line",
    [
        b'{"answer": 1, "offers": [], "refusals": []}',
        b'{"reply": 1, "message": "e30="}',
        b'{"hello": "fleet", "version": 1}',
        b'{"hello": "ec2", "version": 1}',
        b'{"deliver": 0, "message": "e30="}',
        b'{"deliver": 1, "message": ""}',
        b'{"deliver": 1, "message": "e30"}',
        b'{"deliver": 1, "message": "e30=", "os_user": "root"}',
        b'{"deliver": true, "message": "e30="}',
        b'{"acknowledged": 1}',
        b'{"addresses": ["$(id)"]}',
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b"x" * (MAX_BYTES + 1),
    ],
    ids=lambda each: repr(each[:40]),
)
def test_a_message_of_another_role_ends_the_connection(attacked: Attacked, line: bytes) -> None:
    """A line that the connector may not send ends the connection."""
    with StolenConnector(attacked.member) as thief:
        thief.sock.sendall(line + b"\n")
        assert thief.hear() is None
    assert push_locally(attacked.member, "carl") in served(attacked.member, "carl")


def test_an_offer_as_ec2s_source_makes_it_is_no_key(attacked: Attacked) -> None:
    """An offer without an issuer's signature, as sixtykeyd-ec2 makes it, is refused."""
    offer = {
        "os_user": "mallory", "instance": INSTANCE_ID, "key": fresh_key(), "left": 60,
        "digest": "0" * 64, "dated": time.time(),
    }  # fmt: skip
    with StolenConnector(attacked.member) as thief:
        thief.say({"answer": 1, "offers": [offer], "refusals": []})
        assert thief.hear() is None
    assert served(attacked.member, "mallory") == ""


def test_it_cannot_acknowledge_what_was_not_stored(attacked: Attacked) -> None:
    """A gateway only takes acknowledgements signed by the key that only the daemon can read."""
    home, certificate = attacked.fleet.home, (attacked.member.folder / "host.cert").read_bytes()
    sealed = attacked.good(os_user="dan")
    digest = lease_exchange.digest(sealed)
    with StolenConnector(attacked.member) as thief:
        other = thief.hear if thief.deliver(attacked.good(os_user="eli")) else None
        assert other is not None
        heard = other()
    assert heard is not None
    answer = lease_exchange.open_reply(heard[1])[0]
    # The connector's own key is an nkey, which signs for the bus and not documents.
    tokens = (attacked.member.folder / "host.creds").read_text()
    assert home.file("issuer.key").strip() not in tokens
    forged = [
        answer,
        Acknowledgement(digest, INSTANCE_ID, "x", 1).seal(PrivateKey.generate()),
        with_body(answer, lease=digest.hex()),
        certificate,
    ]
    key = documents.unseal(answer, {lease_exchange.ACKNOWLEDGEMENT}, documents.ANYBODY).key
    for each in forged:
        with pytest.raises(documents.Rejected):
            lease_exchange.open_answer(each, INSTANCE_ID, key, digest)


def test_a_flood_stops_neither_lookups_nor_local_pushes(attacked: Attacked) -> None:
    """A flood of 6,000 leases from the connector stops neither lookups nor local pushes."""
    own, sealed = PrivateKey.generate(), attacked.good(os_user="flo")
    flood = [sealed, attacked.lease(os_user="mallory").seal(own), b"{}", b"junk"]
    sent: list[int] = []

    def run() -> None:
        for _ in range(30):
            # The connector is dropped if it reads too slowly, and connects again.
            with suppress(ConnectionError), StolenConnector(attacked.member) as thief:
                reading = threading.Thread(target=lambda: [*iter(thief.hear, None)])
                reading.start()
                try:
                    for _ in range(50):
                        sent.extend(thief.deliver(each) for each in flood)
                finally:
                    thief.sock.shutdown(socket.SHUT_RDWR)
                    reading.join()

    thread = threading.Thread(target=run)
    thread.start()
    number = 0
    while thread.is_alive() or number < 3:
        user = f"greg{number % 100}"
        assert push_locally(attacked.member, user) in served(attacked.member, user)
        number += 1
    thread.join()
    assert len(sent) > 1_000
    assert served(attacked.member, "mallory") == ""
    assert served(attacked.member, "flo").count("\n") == 1


def test_a_flood_of_a_captured_question_stops_nothing(attacked: Attacked) -> None:
    """Of 5,000 copies of a question a few are answered; leases, pushes and lookups go on."""
    now, issuer = int(time.time() * 1000), attacked.fleet.home.issuer()
    captured = Question(INSTANCE_ID, "jil", "AKIA", now, bytes(16)).seal(issuer)
    users = [f"jil{number}" for number in range(10)]
    heard: list[tuple[int, bytes]] = []
    leases: dict[int, str] = {}
    before = time.monotonic()
    with StolenConnector(attacked.member) as thief:

        def flood() -> None:
            for user in users:
                for _ in range(500):
                    thief.deliver(captured)
                leases[thief.deliver(attacked.good(os_user=user))] = user

        def read() -> None:
            while len(heard) < 5_010:
                reply = thief.hear()
                assert reply is not None
                heard.append(reply)

        threads = [threading.Thread(target=each) for each in (flood, read)]
        for thread in threads:
            thread.start()
        number = 0
        while any(thread.is_alive() for thread in threads) or number < 3:
            user = f"kai{number % 100}"
            assert push_locally(attacked.member, user) in served(attacked.member, user)
            number += 1
    seconds = time.monotonic() - before
    answered = [number for number, message in heard if message and number not in leases]
    # Once as new, and then as repetitions.
    assert 0 < len(answered) <= 1 + FLEET.asked + FLEET.asked_per_second * seconds
    taken = {leases[number]: message for number, message in heard if number in leases}
    assert {user: b"acknowledgement" in message for user, message in taken.items()} == (
        dict.fromkeys(users, True)
    )
    assert all(served(attacked.member, user).count("\n") == 1 for user in users)


def test_one_that_never_reads_is_dropped(attacked: Attacked) -> None:
    """A connector that never reads its answers is dropped."""
    sealed = attacked.good(os_user="hank")
    with StolenConnector(attacked.member) as thief, pytest.raises(ConnectionError):
        _deliver_without_end(thief, sealed)
    assert "it does not read its messages" in attacked.member.daemon.log()
    assert push_locally(attacked.member, "ian") in served(attacked.member, "ian")


def _deliver_without_end(thief: StolenConnector, message: bytes) -> None:
    while True:
        thief.deliver(message)
