"""Joining, renewing and leaving: who may, how often, and what hosts are given."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt
from agent.fleet.home.enrolment import Enrolment
from agent.fleet.messages import documents, membership
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.membership import HostKeys, HostRequest, Membership
from agent.fleet.messages.signing import PrivateKey
from agent.fleet.messages.tokens import JoinToken
from tests.fleet.members import HOUR, THIS, URL, Desk, Host, token
from tests.fleet.sample_messages import HOST, ISSUER, NOW
from tests.parts.daemon import INSTANCE_ID

OTHER = "i-00000000000000002"
WEEK = FLEET.membership_seconds


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An enrolment with an empty registry."""
    return Desk(tmp_path)


def test_a_host_that_joins_gets_what_it_needs(desk: Desk) -> None:
    """A host that joins gets a certificate for its keys and tags, and a token for the bus."""
    host = Host()
    given = host.join(desk, token())
    certificate = host.certificate
    assert (certificate.host, certificate.name) == (INSTANCE_ID, "web-1")
    assert (certificate.key, certificate.nkey) == (
        host.keys.host.public,
        host.keys.connector.public,
    )
    assert certificate.tags == {"role": "web"}
    claims = jwt.decode(given.token, THIS.signer.public, "user")
    assert (claims.name, claims.subject) == (INSTANCE_ID, host.keys.connector.public)
    assert claims.times.expires_at == int(NOW) + WEEK
    assert given.issuers == THIS.issuers
    assert (given.servers, given.gateways, given.ca) == (THIS.servers, (URL,), b"authority")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ("db-*",)}, "called db-"),
        ({"names": ()}, "called"),
        ({"instances": (OTHER,)}, "not for the instance"),
        ({"instances": ()}, "not for the instance"),
        ({"ends_at": int(NOW * 1000)}, "has expired"),
        ({"issued_at": int((NOW + HOUR) * 1000)}, "from the future"),
        ({"url": "https://other.example"}, "is for https://other"),
    ],
    ids=str,
)
def test_a_token_bounds_who_may_join(desk: Desk, changes: dict[str, Any], words: str) -> None:
    """A token limits names, instances, time and gateway; an empty list allows nobody."""
    with pytest.raises(Rejected, match=words):
        Host().join(desk, token(**changes))
    assert desk.registry.hosts() == []


def test_a_token_has_a_number_of_uses(desk: Desk) -> None:
    """A token admits as many hosts as it has uses, and no more."""
    Host("i-00000000000000001").join(desk, token())
    Host("i-00000000000000002").join(desk, token())
    with pytest.raises(Rejected, match="used 2 times"):
        Host("i-00000000000000003").join(desk, token())
    Host("i-00000000000000003").join(desk, token(id=bytes(16)))


def test_hosts_that_join_at_once_use_a_token_no_more_often(desk: Desk) -> None:
    """Of ten hosts that join at once with a token of three uses, three succeed."""
    bound = token(uses=3)
    outcomes: list[str] = []

    def attempt(place: int) -> None:
        try:
            Host(f"i-{place:017x}").join(desk, bound)
            outcomes.append("in")
        except Rejected:
            outcomes.append("out")

    threads = [threading.Thread(target=attempt, args=[place]) for place in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 3 + ["out"] * 7


def test_a_repeated_join_does_not_use_the_token_again(desk: Desk) -> None:
    """A host that joins again with the same keys does not use the token again."""
    host, once = Host(), token(uses=1)
    host.join(desk, once)
    host.join(desk, once, NOW + 1)
    assert len(desk.registry.hosts()) == 1


def test_an_instance_id_that_is_taken_cannot_join_again(desk: Desk) -> None:
    """A join with other keys for an instance that has joined is refused, with any token."""
    Host().join(desk, token(uses=5))
    for by in (token(uses=5), token(id=bytes(16))):
        with pytest.raises(Rejected, match=f"sixtykey fleet remove {INSTANCE_ID}"):
            Host().join(desk, by)


def test_a_host_that_left_or_was_removed_may_join_again(desk: Desk) -> None:
    """A host that left or was removed may join with new keys, which uses the token again."""
    bound, first = token(uses=3), Host()
    first.join(desk, bound)
    first.leave(desk)
    second = Host()
    second.join(desk, bound)
    assert [each.host for each in desk.registry.remove("web-1", NOW)] == [INSTANCE_ID]
    Host().join(desk, bound)
    with pytest.raises(Rejected, match="left the fleet or was removed"):
        second.renew(desk, NOW + 1)
    desk.registry.remove(INSTANCE_ID, NOW)
    with pytest.raises(Rejected, match="used 3 times"):
        Host().join(desk, bound)


def test_a_token_that_an_issuer_did_not_sign_is_refused(desk: Desk) -> None:
    """A join token by a key that is no issuer, or text that is no token, is refused."""
    host = Host()
    request = host.ask(membership.JOIN, token().dump(HOST))
    with pytest.raises(Rejected, match="not a key that is trusted"):
        desk.join(request, NOW)
    with pytest.raises(Rejected, match="not a join token"):
        desk.join(host.ask(membership.JOIN, "sixtykey"), NOW)


def test_a_host_renews_with_the_tags_of_before(desk: Desk) -> None:
    """A renewal extends the certificate; keys, tags and name stay, whatever name is sent."""
    host = Host()
    host.join(desk, token())
    before = host.certificate
    host.name = "db-1"
    host.renew(desk, NOW + HOUR)
    after = host.certificate
    assert (after.key, after.nkey, after.tags, after.name) == (
        before.key,
        before.nkey,
        before.tags,
        before.name,
    )
    assert after.ends_at == before.ends_at + HOUR * 1000


def test_any_gateway_renews(desk: Desk) -> None:
    """A gateway without a registry renews hosts, but does not let them join or leave."""
    host, other = Host(), Enrolment(lambda: THIS, None, dict)
    host.join(desk, token())
    host.renew(other, NOW + HOUR)
    for attempt in (lambda: host.join(other, token()), lambda: host.leave(other)):
        with pytest.raises(Rejected, match="gateway"):
            attempt()


def test_a_host_that_was_switched_off_renews_for_a_while(desk: Desk) -> None:
    """A host may renew after its certificate has ended, until the grace period is over."""
    host = Host()
    host.join(desk, token())
    host.renew(desk, NOW + WEEK + FLEET.grace_seconds - 1)
    with pytest.raises(Rejected, match="has expired"):
        host.renew(desk, NOW + 2 * (WEEK + FLEET.grace_seconds))


def test_both_keys_have_to_sign(desk: Desk) -> None:
    """A renewal is refused unless both keys of the certificate have signed it."""
    host, thief = Host(), Host()
    host.join(desk, token())
    assert host.membership is not None
    voucher = host.membership.certificate
    for keys in (
        HostKeys(thief.keys.host, host.keys.connector),
        HostKeys(host.keys.host, thief.keys.connector),
        thief.keys,
    ):
        thief.keys = keys
        with pytest.raises(Rejected, match="for another host, or for other keys"):
            desk.renew(thief.ask(membership.RENEWAL, voucher), NOW)


def test_a_request_is_signed_whole_and_for_one_purpose(desk: Desk) -> None:
    """A request's two signatures must be of the same request, and for its purpose."""
    host = Host()
    host.join(desk, token())
    assert host.membership is not None
    one = documents.read(host.ask(membership.RENEWAL, host.membership.certificate))
    two = documents.read(host.ask(membership.RENEWAL, host.membership.certificate, NOW + 1))
    mixed = documents.canonical({"proof": one["proof"], "request": two["request"]})
    with pytest.raises(Rejected, match="do not sign the same"):
        desk.renew(mixed, NOW)
    for attempt in (desk.leave, desk.join):
        with pytest.raises(Rejected, match="not what is taken here"):
            attempt(documents.canonical(dict(one)), NOW)
    for text in (b"", b"{}", b'{"proof":"","request":""}', b'{"proof":1,"request":1}'):
        with pytest.raises(Rejected):
            desk.renew(text, NOW)


@pytest.mark.parametrize("apart", [-301.0, 301.0])
def test_an_old_request_is_refused(desk: Desk, apart: float) -> None:
    """A request more than 5 minutes off is refused, with an error that mentions NTP."""
    with pytest.raises(Rejected, match="NTP"):
        desk.join(Host().ask(membership.JOIN, token().dump(ISSUER)), NOW + apart)


def test_the_answer_is_to_this_request_by_this_issuer(desk: Desk) -> None:
    """A host refuses an answer to another request, or by a key that is no issuer."""
    host = Host()
    request = host.ask(membership.JOIN, token().dump(ISSUER))
    answer = desk.join(request, NOW).membership
    assert answer is not None
    with pytest.raises(Rejected, match="another request"):
        Membership.open(answer, {ISSUER.public}, request + b" ")
    with pytest.raises(Rejected, match="not a key that is trusted"):
        Membership.open(answer, {HOST.public}, request)


def test_a_token_comes_back_as_it_was() -> None:
    """A join token is read back from one word, and an altered one is refused."""
    text = token().dump(ISSUER)
    assert JoinToken.parse(f" {text}\n") == (token(), ISSUER.public)
    assert " " not in text
    for place in range(20, len(text), 37):
        other = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(Rejected):
            JoinToken.parse(other)


def test_a_certificate_by_another_is_refused(desk: Desk) -> None:
    """A host certificate that no issuer signed is refused."""
    host = Host()
    host.join(desk, token())
    forged = host.certificate.seal(PrivateKey.generate())
    with pytest.raises(Rejected, match="not a key that is trusted"):
        HostCertificate.open(forged, {ISSUER.public})
    request = host.ask(membership.RENEWAL, forged.decode())
    with pytest.raises(Rejected, match="not a key that is trusted"):
        desk.renew(request, NOW)


def test_a_request_names_a_real_host(desk: Desk) -> None:
    """A request with a malformed instance id or host name is refused."""
    for instance in ("*", ">", "i-x.>", "i-{{name()}}", "i-0123456789 "):
        with pytest.raises(Rejected, match="instance id"):
            Host(instance).join(desk, token())
    for name in ("web-1\n", "web-A", "web-é", "web-" + "x" * 260):
        with pytest.raises(Rejected, match=r"host name|characters"):
            Host(name=name).join(desk, token())


def test_a_requests_members_are_read_strictly() -> None:
    """A request with an unknown member is refused, although both keys signed it."""
    host = Host()
    content = dict(
        documents.unseal(
            str(documents.read(host.ask(membership.JOIN, "x"))["request"]).encode(),
            {membership.JOIN},
            documents.ANYBODY,
        ).content
    )
    content["more"] = 1
    connector = PrivateKey(host.keys.connector.seed)
    both = {
        "proof": documents.seal("join proof", content, connector).decode(),
        "request": documents.seal("join", content, host.keys.host).decode(),
    }
    with pytest.raises(Rejected, match="unknown member"):
        HostRequest.open(documents.canonical(both), membership.JOIN, NOW)
