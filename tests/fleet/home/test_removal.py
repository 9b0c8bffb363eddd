"""A host that was removed from the fleet can do nothing in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, roles
from agent.fleet.home.enrolment import Enrolment, Joined
from agent.fleet.messages.documents import Rejected
from tests.fleet.members import HOUR, THIS, Desk, Host, token
from tests.fleet.sample_messages import NOW
from tests.parts.bus import make_home
from tests.parts.daemon import INSTANCE_ID

WEEK = FLEET.membership_seconds


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An enrolment with an empty registry."""
    return Desk(tmp_path)


def test_a_removed_host_renews_nowhere(desk: Desk) -> None:
    """A certificate issued up to the host's removal cannot be renewed; a later one can."""
    host, other = Host(), Enrolment(lambda: THIS, None, lambda: desk.revoked)
    host.join(desk, token())
    desk.revoked[host.keys.connector.public] = int(NOW)
    for where in (desk, other):
        with pytest.raises(Rejected, match="was removed"):
            host.renew(where, NOW + 1)
    desk.revoked[host.keys.connector.public] = int(NOW) - 1
    host.renew(other, NOW + 1)


def test_a_renewal_by_a_gateway_that_does_not_know_yet_is_void(desk: Desk, tmp_path: Path) -> None:
    """A certificate renewed before a gateway learns of the removal is void afterwards."""
    host, told = Host(), dict[str, int]()
    other = Enrolment(lambda: THIS, None, lambda: told)
    host.join(desk, token())
    home, nkey = make_home(tmp_path / "fleet"), host.keys.connector.public
    account = home.revoke([nkey], NOW)
    host.renew(other, NOW + HOUR)
    signer = home.facts.operator_signer
    told.update(roles.revocations(jwt.decode(account, signer, "account")))
    with pytest.raises(Rejected, match="was removed"):
        host.renew(other, NOW + 2 * HOUR)
    with pytest.raises(Rejected, match="was removed"):
        host.certificate.check(NOW + 2 * HOUR, told)


def test_removed_keys_do_not_join_again(desk: Desk) -> None:
    """Removed keys cannot join again, use no token, and the error says how to make new ones."""
    host = Host()
    desk.revoked[host.keys.connector.public] = int(NOW) + WEEK
    with pytest.raises(Rejected, match=r"keys are those of .* delete connector\.nk"):
        host.join(desk, token())
    assert desk.registry.hosts() == []


def test_keys_that_were_in_use_do_not_join(desk: Desk) -> None:
    """Keys of a host that left, was replaced, or is a member with another id, join no more."""
    first, second, copy = Host(), Host(), Host("i-00000000000000002", "web-2")
    copy.keys = first.keys
    first.join(desk, token())
    first.join(desk, token())

    def refused(*hosts: Host) -> None:
        before = desk.registry.hosts()
        for host in hosts:
            with pytest.raises(Rejected, match=r"keys are those of .* delete connector\.nk"):
                host.join(desk, token())
        assert desk.registry.hosts() == before

    refused(copy)
    first.leave(desk)
    refused(first, copy)
    second.join(desk, token())
    refused(copy, first)
    assert [each.nkey for each in desk.registry.remove(INSTANCE_ID, NOW)] == [
        second.certificate.nkey
    ]
    refused(second, copy, first)


def test_an_id_goes_before_a_name(desk: Desk) -> None:
    """A host whose name is another's id is not removed with it, and cannot join any more."""
    first, other = Host(), Host("i-00000000000000002", INSTANCE_ID)
    first.join(desk, token())
    with pytest.raises(Rejected, match=r"looks like another host's instance id.*--name"):
        other.join(desk, token(names=("*",)))
    # One that joined before this was refused.
    nkey = other.keys.connector.public
    named = replace(first.certificate, host=other.instance, name=INSTANCE_ID, nkey=nkey)
    desk.registry.join(Joined(named, bytes(16)), 1)
    assert [each.host for each in desk.registry.remove(INSTANCE_ID, NOW)] == [INSTANCE_ID]
    gone = {each.certificate.host: each.gone_at for each in desk.registry.hosts()}
    assert gone == {INSTANCE_ID: NOW, other.instance: None}


def test_a_host_may_be_called_by_its_own_id(desk: Desk) -> None:
    """EC2 can name a machine after its instance id: such a name is its own, and accepted."""
    host = Host(INSTANCE_ID, INSTANCE_ID)
    host.join(desk, token(names=("*",)))
    assert host.certificate.name == INSTANCE_ID


def test_the_keys_of_who_left_are_known_when_another_has_its_place(desk: Desk) -> None:
    """The registry still knows the keys of a host that left after another took its place."""
    first, second = Host(), Host()
    first.join(desk, token())
    first.leave(desk)
    second.join(desk, token())
    assert [each.nkey for each in desk.registry.remove("web-1", NOW)] == [second.certificate.nkey]
    assert desk.registry.former([INSTANCE_ID]) == {first.certificate.nkey: INSTANCE_ID}
    assert desk.registry.former(["i-00000000000000002"]) == {}
