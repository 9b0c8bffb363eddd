"""An attacker on the bus answers in a host's place, before it, or endlessly: no 200 is false."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Callable, Optional

import pytest

from agent.fleet.messages import lease_exchange
from agent.fleet.messages.lease_exchange import Acknowledgement
from agent.fleet.messages.signing import PrivateKey
from tests.fleet.attacked import OTHER, Attacked
from tests.parts.daemon import INSTANCE_ID
from tests.parts.stolen_bus import Heard
from tests.parts.whole_fleet import served


@pytest.fixture
def alone(attacked: Attacked) -> Iterator[Attacked]:
    """The fleet with the host's connector killed, so that only the thief gets its messages."""
    connector = attacked.fleet.member.connector
    connector.kill()
    yield attacked
    attacked.thief.on_lease = lambda _: None
    connector.finish()
    connector.begin()
    attacked.push_until_taken("after")


Lie = Callable[["Lies", Heard], Optional[bytes]]


class Lies:
    """Earlier answers that the thief replays in place of the host, which is cut off."""

    def __init__(self, attacked: Attacked) -> None:
        self.attacked = attacked
        self.acknowledged, self.answer = attacked.capture("gus")
        self.others = attacked.capture("gus", OTHER)[1]
        self.certificate = lease_exchange.open_reply(self.answer.data)[1]

    def own(self, asked: Heard, certificate: bytes) -> bytes:
        """An acknowledgement signed by a key of the thief."""
        made = Acknowledgement(lease_exchange.digest(asked.data), INSTANCE_ID, "x", 1)
        return lease_exchange.seal_reply(made.seal(PrivateKey.generate()), certificate)

    def by_the_other(self, asked: Heard) -> bytes:
        """An acknowledgement of this lease that another host of the fleet has signed."""
        other = self.attacked.other
        made = Acknowledgement(lease_exchange.digest(asked.data), INSTANCE_ID, "x", 1)
        return other.reply(made.seal(other.keys.host))


LIES: dict[str, Lie] = {
    "an acknowledgement of before": lambda lies, _: lies.answer.data,
    "another host's, to another lease": lambda lies, _: lies.others.data,
    "another host's, to this lease": lambda lies, asked: lies.by_the_other(asked),
    "a stranger's, with the host's certificate": lambda lies, asked: lies.own(
        asked, lies.certificate
    ),
    "the lease itself": lambda _, asked: asked.data,
    "the certificate alone": lambda lies, _: lies.certificate,
    "nothing": lambda *_: b"",
    "a great deal": lambda *_: b"[" * 900_000,
}


@pytest.mark.parametrize("name", LIES)
def test_nobody_answers_for_a_host(alone: Attacked, name: str) -> None:
    """While the host is cut off, no forged or replayed answer makes a push acknowledged."""
    connector = alone.fleet.member.connector
    connector.begin()
    lies = Lies(alone)
    connector.kill()
    alone.thief.on_lease = lambda asked: LIES[name](lies, asked)
    answer = alone.push("hal")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert "is not valid" in answer.body["Message"]
    assert served(alone.fleet.member, "hal") == ""


def test_a_faked_absence_says_no_more_than_that(alone: Attacked) -> None:
    """A faked absence of the host makes the push fail with EC2InstanceNotFoundException."""

    def deny(asked: Heard) -> None:
        asked_at = asked.reply
        threading.Thread(target=alone.thief.says_no_responders, args=(asked_at,)).start()

    alone.thief.on_lease = deny
    assert alone.push("ida").code == "EC2InstanceNotFoundException"


def test_a_lie_before_the_answer_makes_no_200(attacked: Attacked) -> None:
    """A lie that arrives before the host's answer makes no false 200; later pushes are taken."""
    attacked.thief.on_lease = lambda _: b"lie"
    answers = [attacked.push(f"jo{number}") for number in range(10)]
    for number, answer in enumerate(answers):
        assert answer.code in {"", "ServiceUnavailable"}
        if answer.code == "":
            assert answer.request_id in served(attacked.fleet.member, f"jo{number}")
    attacked.thief.on_lease = lambda _: None
    attacked.push_until_taken("jo")


def test_floods_of_inboxes_bring_no_200_and_no_end(attacked: Attacked) -> None:
    """While the gateways' inboxes are flooded with 21,000 messages, every 200 is served."""
    asked, answer = attacked.capture("kim")
    inbox = asked.reply.rpartition(".")[0]
    lied: list[BaseException] = []

    def flood() -> None:
        try:
            for subject in (asked.reply, f"{inbox}.x", inbox):
                attacked.thief.say_many(subject, answer.data, 7_000)
        except BaseException as error:  # noqa: BLE001 - told to the test
            lied.append(error)

    thread = threading.Thread(target=flood)
    thread.start()
    number = 0
    while thread.is_alive() or number < 5:
        pushed = attacked.push(f"kim{number % 50}")
        if pushed.code == "":
            assert pushed.request_id in served(attacked.fleet.member, f"kim{number % 50}")
        number += 1
    thread.join()
    assert lied == []
    attacked.push_until_taken("kim")
