"""The lease table keeps lifetimes exactly, refuses when full, and evicts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar, Union

import cachetools
import pytest

from agent.config import settings as config
from agent.host.clock import Clock
from agent.leases.journal import Journal
from agent.leases.lease import Lease, TableFull
from agent.leases.store import LeaseStore
from agent.leases.table import LeaseTable
from agent.sources.replay import ReplayMemory
from tests.parts.clock import ManualClock
from tests.parts.leases import ed25519_key, make_lease

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


class Sink:
    """A lease table, alone or behind a store, for tests that hold for both."""

    def __init__(self, table: LeaseTable, store: Optional[LeaseStore] = None) -> None:
        self.table = table
        self._store = store

    def add(self, lease: Lease) -> None:
        """Add the lease to the table or the store."""
        if self._store is None:
            self.table.add(lease)
        else:
            run(self._store.add(lease))

    def remove(self, *leases: Lease) -> None:
        """End the leases."""
        if self._store is None:
            self.table.remove(leases)
        else:
            run(self._store.revoke(leases))

    def served(self, os_user: str = "alice") -> list[str]:
        """The request ids of the user's live leases, in order."""
        return [lease.request_id for lease in self.table.of(os_user)]


Make = Callable[..., Sink]


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(name="make", params=["table", "store", "store and journal"])
def _make(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> Iterator[Make]:
    """Make each kind of sink with some of config.Keys' settings."""
    stores: list[LeaseStore] = []

    def make(**settings: Any) -> Sink:
        keys = config.Keys(**settings)
        if request.param == "table":
            return Sink(LeaseTable(keys, clock))
        journal = (
            Journal(str(tmp_path / f"{len(stores)}.db")) if "journal" in request.param else None
        )
        store = LeaseStore(keys, journal, ReplayMemory(clock), clock, pytest.fail)
        stores.append(store)
        run(store.open())
        run(store.load_marks())
        return Sink(store.table, store)

    yield make
    for store in stores:
        store.close()


def test_a_key_is_served_until_its_time_and_not_at_it(make: Make, clock: ManualClock) -> None:
    """A key pushed for 60 s is served after 59.999 s, and not after 60 s."""
    sink, lease = make(), make_lease()
    sink.add(lease)
    assert sink.table.of("alice") == (lease,)
    clock.advance(59.999)
    assert sink.table.of("alice") == (lease,)
    clock.advance(1060.0 - clock.boottime())
    assert sink.table.of("alice") == ()
    assert len(sink.table) == 0


def test_the_wall_clock_and_sleep_change_no_lifetime(make: Make, clock: ManualClock) -> None:
    """Setting the wall clock changes no lifetime, and suspended time counts towards it."""
    sink = make()
    sink.add(make_lease())
    for hours in (5, -30, 0):
        clock.set_wall(1_800_000_000.0 + hours * 3600)
        assert len(sink.served()) == 1
    clock.suspend(60.0)
    assert sink.served() == []


def test_a_lookup_consumes_nothing(make: Make) -> None:
    """Two lookups in a row give the same leases."""
    sink = make()
    sink.add(make_lease())
    assert sink.table.of("alice") == sink.table.of("alice") != ()


def test_users_do_not_see_each_others_keys(make: Make) -> None:
    """A lease is served only for exactly its own user name."""
    sink = make()
    sink.add(make_lease("alice"))
    assert [sink.served(name) for name in ("Alice", "alic", "alicee", "bob", "")] == [[]] * 5


def test_the_same_key_again_lives_anew_once(make: Make, clock: ManualClock) -> None:
    """A second push of a key replaces the first lease, and lasts sixty seconds from then."""
    sink, key = make(), ed25519_key()
    sink.add(make_lease(key=key))
    clock.advance(40.0)
    second = make_lease(key=key, at=clock.boottime())
    sink.add(second)
    clock.advance(30.0)
    assert sink.served() == [second.request_id]
    assert len(sink.table) == 1
    clock.advance(30.0)
    assert sink.served() == []


def test_a_key_does_not_renew_the_users_other_keys(make: Make, clock: ManualClock) -> None:
    """A push of another key does not extend the user's earlier leases."""
    sink = make()
    first = make_lease()
    sink.add(first)
    clock.advance(59.0)
    second = make_lease(at=clock.boottime())
    sink.add(second)
    assert sink.served() == [first.request_id, second.request_id]
    clock.advance(1.0)
    assert sink.served() == [second.request_id]


def test_a_user_has_a_limited_number_of_keys(make: Make, clock: ManualClock) -> None:
    """A key beyond the user's limit is refused with the time to wait, and evicts nothing."""
    sink = make(per_user=3)
    leases = []
    for _ in range(3):
        leases.append(make_lease(at=clock.boottime()))
        sink.add(leases[-1])
        clock.advance(1.0)
    with pytest.raises(TableFull, match="alice has 3 live keys") as caught:
        sink.add(make_lease(at=clock.boottime()))
    assert caught.value.wait == pytest.approx(57.0)
    assert sink.served() == [lease.request_id for lease in leases]
    sink.add(make_lease("bob", at=clock.boottime()))
    again = make_lease(key=leases[0].key, at=clock.boottime())
    sink.add(again)
    assert again.request_id in sink.served()


def test_room_is_there_at_the_instant_a_key_ends(make: Make, clock: ManualClock) -> None:
    """After exactly the wait that a refusal states, a push is accepted."""
    for settings, user in (({"per_user": 1}, "alice"), ({"total": 1}, "bob")):
        sink = make(**settings)
        sink.add(make_lease(at=clock.boottime()))
        with pytest.raises(TableFull) as caught:
            sink.add(make_lease(user, at=clock.boottime()))
        clock.advance(caught.value.wait)
        fresh = make_lease(user, at=clock.boottime())
        sink.add(fresh)
        assert sink.served(user) == [fresh.request_id]
        clock.advance(60.0)


def test_a_full_table_refuses_and_evicts_nothing(make: Make, clock: ManualClock) -> None:
    """A full table refuses pushes, and every live key of every user stays."""
    sink = make(total=5)
    for number in range(5):
        sink.add(make_lease(f"user{number}", at=clock.boottime()))
    for number in range(7):
        with pytest.raises(TableFull, match="this host has 5 live keys"):
            sink.add(make_lease(f"user{number}", at=clock.boottime()))
    assert [len(sink.served(f"user{number}")) for number in range(7)] == [1] * 5 + [0] * 2
    assert len(sink.table) == 5


def test_ended_keys_make_room_beside_live_ones(make: Make, clock: ManualClock) -> None:
    """Ended keys of a user make room, even beside a live key of that user."""
    sink = make(total=3)
    sink.add(make_lease("alice", at=clock.boottime()))
    sink.add(make_lease("alice", at=clock.boottime()))
    clock.advance(50.0)
    sink.add(make_lease("alice", at=clock.boottime()))
    clock.advance(10.0)
    sink.add(make_lease("bob", at=clock.boottime()))
    sink.add(make_lease("bob", at=clock.boottime()))
    with pytest.raises(TableFull):
        sink.add(make_lease("bob", at=clock.boottime()))
    assert len(sink.table) == 3


def test_a_removed_key_is_gone_at_once_and_its_place_is_free(make: Make) -> None:
    """A revoked lease is gone at the next lookup, its place is free, and others stay."""
    sink, key = make(total=2), ed25519_key()
    mine, other = make_lease("alice", key), make_lease("bob", key)
    sink.add(mine)
    sink.add(other)
    sink.remove(mine, mine, make_lease("nobody"))
    assert (sink.served("alice"), sink.served("bob")) == ([], [other.request_id])
    sink.add(make_lease("alice"))


def test_a_revocation_ends_the_lease_it_names_and_no_later_one(make: Make) -> None:
    """Revoking a lease does not end a later lease of the same key."""
    sink, key = make(), ed25519_key()
    first, again = make_lease("alice", key), make_lease("alice", key)
    sink.add(first)
    sink.add(again)
    sink.remove(first)
    assert sink.served("alice") == [again.request_id]


class RunningClock(ManualClock):
    """A clock that advances at every reading, so that no two readings agree."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self._step = step

    def boottime(self) -> float:
        """Seconds since boot, later than at the previous reading."""
        self.advance(self._step)
        return super().boottime()


@pytest.mark.parametrize("step", [0.05, 0.37, 1.0, 7.3, 59.9, 60.0, 60.1])
def test_time_passing_within_an_operation_is_no_error(step: float) -> None:
    """A key that ends in the middle of an operation raises no KeyError."""
    clock = RunningClock(step)
    table = LeaseTable(config.Keys(per_user=3, total=5), clock)
    taken = 0
    for number in range(400):
        lease = make_lease(f"user{number % 4}", at=clock.boottime())
        try:
            table.add(lease)
            taken += 1
        except TableFull:
            pass
        assert len(table) <= 5
        assert all(table.of(f"user{index}") is not None for index in range(4))
        assert {each.os_user for each in table.live()} <= {f"user{index}" for index in range(4)}
        table.remove([lease] if number % 5 == 0 else [])
    assert taken > 10


class Ticks:
    """The cachetools timer, to show what the library does and the table must not."""

    def __init__(self, clock: Clock) -> None:
        self.timer = clock.boottime

    def cache(self, maxsize: Union[int, float]) -> cachetools.TTLCache[str, str]:
        """A plain TTL cache of 60 s."""
        return cachetools.TTLCache(maxsize=maxsize, ttl=60, timer=self.timer)


def test_the_traps_are_still_cachetools_own(clock: ManualClock) -> None:
    """A cachetools cache evicts when full and renews a rewritten entry, unlike the table."""
    full = Ticks(clock).cache(1)
    full["alice"] = "live"
    full["bob"] = "live too"
    assert "alice" not in full
    renewed = Ticks(clock).cache(10)
    renewed["alice"] = "first"
    clock.advance(59.0)
    renewed["alice"] = "first and second"
    clock.advance(30.0)
    assert renewed["alice"] == "first and second"
