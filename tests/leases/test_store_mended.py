"""A lease store whose journal is taken away loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Callable

import pytest

from agent.config.limits import LIMITS
from agent.leases.lease import NotDurable
from agent.sources.replay import TooOld
from tests.parts.leases import mark
from tests.parts.stores import Host, served


def _log(journal: Path) -> Path:
    return journal.with_name(journal.name + "-wal")


def _unlink_all(journal: Path) -> None:
    journal.unlink()
    _log(journal).unlink()


def _replace(journal: Path) -> None:
    """Replace the journal with an empty database of the right version."""
    database = sqlite3.connect(journal.with_name("another"))
    database.execute("PRAGMA user_version = 3")
    database.close()
    journal.with_name("another").replace(journal)


def _restore_older(journal: Path) -> None:
    """Replace the journal with an older copy of itself, as a restored backup would."""
    journal.with_name("older").replace(journal)
    _log(journal).unlink()


def _put_folder(journal: Path) -> None:
    """Replace the journal's folder with an empty one."""
    journal.parent.rename(journal.parent.with_name("away"))
    journal.parent.mkdir()


WAYS: list[Callable[[Path], None]] = [
    Path.unlink, lambda journal: _log(journal).unlink(), _unlink_all, _replace, _restore_older,
    _put_folder,
]  # fmt: skip
NAMES = ["unlinked", "its log unlinked", "both unlinked", "replaced", "an older one", "the folder"]


@pytest.mark.parametrize("take_away", WAYS, ids=NAMES)
def test_a_journal_taken_away_is_written_anew(
    host: Host, take_away: Callable[[Path], None]
) -> None:
    """A journal taken away is rewritten with its leases, marks and horizon.

    A push between the loss and its discovery is kept too, even when the process is killed next.
    """

    async def course() -> None:
        store = await host.boot()
        host.path.with_name("older").write_bytes(host.path.read_bytes())
        host.path.with_name("older").chmod(0o600)
        first, second = host.lease(mark=mark(1)), host.lease(mark=mark(2))
        await store.add(first)
        await store.tend()
        horizon = host.memory.horizon
        assert host.said == []
        take_away(host.path)
        await store.add(second)
        assert await store.tend() == []
        assert "removed or replaced" in host.said[0]
        # A replacement may be damaged too, which is also reported.
        said = len(host.said)
        store.check()
        await store.add(third := host.lease(mark=mark(3)))
        await store.tend()
        assert len(host.said) == said
        host.crash()
        store = await host.boot()
        assert served(store) == [each.request_id for each in (first, second, third)]
        for number, lease in enumerate((first, second, third), 1):
            assert host.memory.recall(mark(number), "a") == lease.request_id
        assert host.memory.horizon == horizon

    asyncio.run(course())


def test_a_revoked_lease_does_not_come_back_with_a_mended_journal(host: Host) -> None:
    """A revoked lease does not come back when an older journal replaces the live one."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease(mark=mark(1)))
        host.path.with_name("older").write_bytes(host.path.read_bytes())
        host.path.with_name("older").chmod(0o600)
        await store.revoke([lease])
        _restore_older(host.path)
        await store.tend()
        host.crash()
        store = await host.boot()
        assert served(store) == []
        assert host.memory.recall(mark(1), "a") == lease.request_id

    asyncio.run(course())


def test_a_journal_that_others_can_write_takes_no_push_until_it_is_mended(host: Host) -> None:
    """Pushes are refused while others can write to the journal's folder; lookups go on."""

    async def course() -> None:
        store = await host.boot()
        await store.add(lease := host.lease(mark=mark(1)))
        host.path.parent.chmod(0o777)
        await store.tend()
        assert "its folder" in host.said[-1]
        with pytest.raises(NotDurable):
            store.check()
        assert served(store) == [lease.request_id]
        host.path.parent.chmod(0o755)
        await store.tend()
        store.check()
        assert served(await host.boot()) == [lease.request_id]
        assert host.memory.recall(mark(1), "a") == lease.request_id

    asyncio.run(course())


def test_lookups_and_revocations_go_on_while_it_is_mended(host: Host) -> None:
    """A lease revoked while the journal is rewritten is not in the new journal."""

    async def course() -> None:
        store = await host.boot()
        leases = [host.lease(f"user{number}", mark=mark(number)) for number in range(300)]
        for lease in leases:
            await store.add(lease)
        host.path.unlink()
        mending = asyncio.create_task(store.tend())
        for lease in leases[:50]:
            assert served(store, lease.os_user) == [lease.request_id]
            with suppress(NotDurable):  # raised while there is no journal to write to
                await store.revoke([lease])
            assert served(store, lease.os_user) == []
        await mending
        host.crash()
        store = await host.boot()
        assert [lease.os_user for lease in leases if served(store, lease.os_user)] == [
            lease.os_user for lease in leases[50:]
        ]

    asyncio.run(course())


def test_a_forgotten_mark_leaves_its_date_in_the_horizon(host: Host) -> None:
    """A mark dropped because the wall clock jumped ahead leaves its date in the horizon.

    Its request is refused after the clock is set back, also after a restart.
    """

    async def course() -> None:
        store = await host.boot()
        wall = host.clock.wall()
        await store.add(host.lease(mark=mark(1, wall)))
        host.clock.set_wall(wall + 3600.0)
        await store.tend()
        assert len(host.memory) == 0
        host.clock.set_wall(wall)
        for end in (host.end, host.crash):
            end()
            store = await host.boot()
            assert len(host.memory) == 0
            with pytest.raises(TooOld):
                host.memory.recall(mark(1, wall), "a")
            assert host.memory.recall(mark(2, wall + 1.0), "a") is None

    asyncio.run(course())


def test_without_a_journal_a_restart_is_a_loss(host: Host) -> None:
    """With `journal: none`, a request signed before a restart is refused as too old."""

    async def course() -> None:
        wall = host.clock.wall()
        store = host.store(None)
        await store.open()
        await store.load_marks()
        await store.add(host.lease(mark=mark(1, wall)))
        assert host.memory.recall(mark(1, wall), "a") is not None
        host.clock.advance(LIMITS.restart_seconds)
        store = host.store(None)
        await store.open()
        await store.load_marks()
        store.check()
        with pytest.raises(TooOld):
            host.memory.recall(mark(1, wall), "a")

    asyncio.run(course())
