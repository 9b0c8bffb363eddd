"""agent/sources/intake.py: every source's offers pass the same checks."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import Any

import pytest

from agent.audit.history import History
from agent.audit.record import Audit
from agent.config.identity import Identity
from agent.config.key_policy import KeyPolicy
from agent.config.settings import Config, Keys
from agent.leases.keys import KeyRejected, PublicKey
from agent.leases.lease import Horizon, ReplayMark, TableFull
from agent.leases.store import LeaseStore
from agent.leases.turns import Turns
from agent.sources.context import Context
from agent.sources.intake import Intake, NotThisHost, Offer, UserDenied, pin
from agent.sources.replay import ReplayMemory, TooOld
from tests.parts.clock import ManualClock
from tests.parts.host import ROOT
from tests.parts.leases import ed25519_key, make_lease
from tests.parts.project import python_files
from tests.sources.api.front import run

IDENTITY = Identity("i-0123456789abcdef0", "us-east-2b", "us-east-2")
OFFER = Offer("alice", IDENTITY.instance_id, ed25519_key(1), "AKIA", "10.0.0.1", "an-id")
# Keys as a source with other rules would take them.
OTHER_TYPE = PublicKey("ecdsa-sha2-nistp256", b"x", 256)
SHORT_RSA = PublicKey("ssh-rsa", b"x", 2048)


class Host:
    """An intake with all its parts, and a manual clock."""

    def __init__(self, keys: Keys = Keys()) -> None:  # noqa: B008 - frozen
        self.clock = ManualClock()
        self.audit = Audit(lambda *_: None, self.clock, History())
        self.memory = ReplayMemory(self.clock)
        self.store = LeaseStore(keys, None, self.memory, self.clock, print)
        context = Context(Config(keys=keys), IDENTITY, self.clock, self.audit, Turns(self.clock))
        self.intake = Intake(context, self.store)


@run
async def test_an_offer_becomes_a_lease() -> None:
    """An offer becomes a lease with its values and the host's lifetime."""
    host = Host(Keys(lifetime=30))
    lease = await host.intake.take(OFFER)
    assert host.store.table.of("alice") == (lease,)
    assert (lease.principal, lease.source, lease.request_id) == ("AKIA", "10.0.0.1", "an-id")
    assert lease.expires_at - lease.pushed_at == 30


@pytest.mark.parametrize(("granted", "lifetime"), [(None, 30), (10, 10), (29.5, 29.5), (60, 30)])
def test_a_source_may_tighten_the_lifetime_and_never_stretch_it(
    granted: float, lifetime: float
) -> None:
    """The shorter of the source's and the host's lifetime counts."""

    @run
    async def test() -> None:
        lease = await Host(Keys(lifetime=30)).intake.take(replace(OFFER, lifetime=granted))
        assert lease.expires_at - lease.pushed_at == lifetime

    test()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"os_user": "root", "instance": "i-aaaaaaaa"}, UserDenied),
        ({"instance": "i-aaaaaaaa"}, NotThisHost),
        ({"zone": "us-east-2c"}, NotThisHost),
        ({"key": OTHER_TYPE}, KeyRejected),
        ({"key": SHORT_RSA}, KeyRejected),
        ({"key": SHORT_RSA, "os_user": "root"}, KeyRejected),
    ],
)
def test_the_hosts_policy_holds_for_every_source(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    """A denied user, another instance or zone, or a key of another type or size gives no lease."""

    @run
    async def test() -> None:
        host = Host(Keys(deny_users=("root",), rsa_min_bits=3072))
        with pytest.raises(error):
            await host.intake.take(replace(OFFER, **changes))
        assert len(host.store.table) == 0

    test()


@run
async def test_a_full_table_refuses() -> None:
    """A full table refuses an offer and says how long to wait."""
    host = Host(Keys(per_user=1))
    await host.intake.take(OFFER)
    with pytest.raises(TableFull) as caught:
        await host.intake.take(replace(OFFER, key=ed25519_key(2)))
    assert caught.value.wait == 60


@run
async def test_a_repeated_offer_is_recalled() -> None:
    """A repeated offer is recalled by its mark; an unknown one from before a loss is refused."""
    host = Host()
    mark = ReplayMark(b"m" * 32, host.clock.wall())
    assert host.memory.recall(mark, "AKIA") is None
    await host.intake.take(replace(OFFER, mark=mark))
    assert host.memory.recall(mark, "AKIA") == "an-id"
    host.memory.resume(Horizon(lost_at=host.clock.boottime()))
    assert host.memory.recall(mark, "AKIA") == "an-id"
    with pytest.raises(TooOld):
        host.memory.recall(ReplayMark(b"n" * 32, host.clock.wall()), "AKIA")


@run
async def test_a_lease_of_the_process_before_explains_a_refusal() -> None:
    """The history explains leases that were restored after a restart."""
    host = Host()
    host.intake.explain([make_lease("bob")])
    host.clock.advance(61)
    assert host.audit.history.explain("bob", None, host.clock.boottime()) is not None


@run
async def test_a_principals_own_rules_tighten_the_lease() -> None:
    """A principal's rules shorten the lease, limit its uses, and set options and source."""
    host = Host(Keys(lifetime=50))
    policy = KeyPolicy(lifetime=20, uses="once", pin_source=True, options=("restrict", "pty"))
    lease = await host.intake.take(replace(OFFER, policy=policy))
    assert lease.expires_at - lease.pushed_at == 20
    assert lease.uses == 1
    assert lease.line.startswith('from="10.0.0.1",restrict,pty ssh-ed25519 ')


@run
async def test_a_principals_own_rules_never_widen_the_hosts() -> None:
    """A principal's rules cannot extend the host's lifetime or uses."""
    host = Host(Keys(lifetime=10, uses="once"))
    lease = await host.intake.take(replace(OFFER, policy=KeyPolicy(lifetime=60, uses="unlimited")))
    assert (lease.expires_at - lease.pushed_at, lease.uses) == (10, 1)


@pytest.mark.parametrize(
    ("source", "pinned"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_pinned_source_is_an_address_or_a_network_of_ipv6(source: str, pinned: str) -> None:
    """A source is pinned to its IPv4 address or its IPv6 /64."""
    assert pin(source) == pinned


@pytest.mark.parametrize("source", ["unix", "", "10.0.0.1/8", "host", '10.0.0.1"'])
def test_nothing_but_an_address_is_pinned(source: str) -> None:
    """A source that is not an address is not pinned."""
    with pytest.raises(ValueError):  # noqa: PT011 - the library's words
        pin(source)


def test_no_offer_is_made_of_an_audit_record() -> None:
    """What makes a lease does not come from what the audit says: no Offer reads a record."""
    offers = [
        node
        for path in python_files()
        if path.is_relative_to(ROOT / "agent")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Offer"
    ]
    assert len(offers) >= 3
    assert [
        ast.unparse(each) for each in offers if re.search(r"\brecord\b", ast.unparse(each))
    ] == []
