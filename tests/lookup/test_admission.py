"""agent/lookup/admission.py: one push admits one login, whatever was handed to how many."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.host.process import Process
from tests.parts.admission_desk import HERE, THERE, opened
from tests.parts.leases import ed25519_key
from tests.parts.proc import BELOW_CHILD, HELPER, OTHER, OTHER_PAM_ACCOUNT, PAM_ACCOUNT, SSHD


def test_whoever_was_handed_nothing_is_admitted(tmp_path: Path) -> None:
    """An ordinary login uses nothing up, and leaves no record."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            await desk.push()
            assert await desk.ask() == "yes\n"
            assert (len(desk.store.table.live()), desk.outcomes()) == (1, [])

    asyncio.run(scenario())


def test_of_two_logins_with_one_push_the_first_is_admitted(tmp_path: Path) -> None:
    """The other is told when, and from where, the key was used; both have their record."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            desk.handouts.record(OTHER, [lease])
            assert await desk.ask() == "yes\n"
            desk.host.clock.advance(3)
            said = await desk.ask(OTHER_PAM_ACCOUNT, THERE)
            assert "used once already, 3 s ago, by the login from 192.0.2.7" in said
            id_ = lease.request_id
            assert desk.outcomes() == [("admitted", id_), ("refused", id_)]
            processes = [r["process"] for r in desk.records if r["event"] == "admission"]
            assert processes == [str(SSHD), str(OTHER)]

    asyncio.run(scenario())


def test_a_login_that_asks_again_is_told_the_same(tmp_path: Path) -> None:
    """A doubled line in PAM's file; also when another daemon has come between."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            assert [await desk.ask(), await desk.ask()] == ["yes\n", "yes\n"]
            desk.host.crash()
            await desk.start()
            assert await desk.ask() == "yes\n"
            desk.handouts.record(OTHER, [lease])
            assert "used once already" in await desk.ask(OTHER_PAM_ACCOUNT)

    asyncio.run(scenario())


def test_two_pushes_of_a_key_admit_two(tmp_path: Path) -> None:
    """Handed to three at once; the third is refused."""

    async def scenario() -> None:
        third = Process(702, 4713)
        async with opened(tmp_path) as desk:
            desk.proc.add(third, "sshd", parent=1, uid=0)
            desk.proc.add(Process(903, 5003), "pam-account", parent=third.pid, uid=0)
            key = ed25519_key()
            pushed = [await desk.push(key), await desk.push(key)]
            for process in (SSHD, OTHER, third):
                desk.handouts.record(process, pushed)
            pids = (PAM_ACCOUNT, OTHER_PAM_ACCOUNT, 903)
            said = await asyncio.gather(*(desk.ask(pid) for pid in pids))
            assert [answer == "yes\n" for answer in said] == [True, True, False]

    asyncio.run(scenario())


def test_a_push_with_other_options_is_not_used_for_it(tmp_path: Path) -> None:
    """sshd went by the first line: a login with its options is no login that the second allows."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            key = ed25519_key()
            wide, narrow = await desk.push(key), await desk.push(key, options=("restrict",))
            desk.handouts.record(SSHD, [wide, narrow])
            desk.handouts.record(OTHER, [wide, narrow])
            assert await desk.ask() == "yes\n"
            assert "used once already" in await desk.ask(OTHER_PAM_ACCOUNT)
            assert [e.request_id for e in desk.store.table.live()] == [narrow.request_id]

    asyncio.run(scenario())


def test_a_key_pinned_to_another_place_is_not_what_opened(tmp_path: Path) -> None:
    """sshd has refused it for its `from=`: a login by something else goes on, and uses nothing."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push(pinned_source=HERE)
            desk.handouts.record(SSHD, [lease])
            assert await desk.ask(address=THERE) == "yes\n"
            assert await desk.ask(address=THERE, partial=True) == "yes\n"
            desk.host.clock.advance(61)  # the password was typed slowly
            assert await desk.ask(address=THERE) == "yes\n"
            assert desk.outcomes() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("address", [HERE, f"::ffff:{HERE}", "-"])
def test_a_key_pinned_to_this_place_is(tmp_path: Path, address: str) -> None:
    """Also where nobody knows from where the login comes: sshd has looked at it."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push(pinned_source=HERE)
            desk.handouts.record(SSHD, [lease])
            assert await desk.ask(address=address) == "yes\n"
            assert desk.outcomes() == [("admitted", lease.request_id)]

    asyncio.run(scenario())


def test_the_push_that_fits_the_address_is_used(tmp_path: Path) -> None:
    """sshd skips lines whose `from=` does not fit, so the daemon does."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            key = ed25519_key()
            pinned = await desk.push(key, pinned_source="2001:db8:0:1::/64")
            here = await desk.push(key, pinned_source=HERE)
            desk.handouts.record(SSHD, [pinned, here])
            assert await desk.ask() == "yes\n"
            assert desk.outcomes() == [("admitted", here.request_id)]

    asyncio.run(scenario())


def test_the_key_that_sshd_asked_for_last_is_used(tmp_path: Path) -> None:
    """Two keys for one process: the other one admits another login."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            one, other = await desk.push(), await desk.push()
            desk.handouts.record(SSHD, [one])
            desk.handouts.record(SSHD, [other])
            assert await desk.ask() == "yes\n"
            assert desk.outcomes() == [("admitted", other.request_id)]
            assert [e.request_id for e in desk.store.table.live()] == [one.request_id]

    asyncio.run(scenario())


def test_a_login_by_another_key_after_all_uses_nothing(tmp_path: Path) -> None:
    """The last lookup gave no one-time key: the login went on by what it gave, or by a password."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            desk.handouts.record_other(HELPER)
            assert (await desk.ask(), desk.outcomes()) == ("yes\n", [])

    asyncio.run(scenario())


def test_after_a_step_by_key_all_keys_count(tmp_path: Path) -> None:
    """AuthenticationMethods publickey,password: any of them may have been the first step."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            one, other = await desk.push(), await desk.push()
            desk.handouts.record(SSHD, [one])
            desk.handouts.record(SSHD, [other])
            desk.handouts.record_other(HELPER)
            assert await desk.ask(partial=True) == "yes\n"
            used = [("admitted", one.request_id), ("admitted", other.request_id)]
            assert (desk.outcomes(), desk.store.table.live()) == (used, [])

    asyncio.run(scenario())


def test_pams_child_asks_for_the_login_above_it(tmp_path: Path) -> None:
    """keyboard-interactive after a key: the account phase is in a child of who was handed it."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            desk.handouts.record(OTHER, [lease])
            assert await desk.ask(BELOW_CHILD, partial=True) == "yes\n"
            assert desk.outcomes() == [("admitted", lease.request_id)]
            assert "used once already" in await desk.ask(OTHER_PAM_ACCOUNT)

    asyncio.run(scenario())


@pytest.mark.parametrize("what", ["expired", "revoked", "journal lost"])
def test_a_key_that_is_gone_admits_nobody(tmp_path: Path, what: str) -> None:
    """A later login with the same key is refused, also by a restarted daemon."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            desk.handouts.record(SSHD, [lease])
            if what == "expired":
                desk.host.clock.advance(60)
            elif what == "revoked":
                await desk.store.revoke([lease])
            else:
                desk.host.end()
                for file in desk.host.path.parent.iterdir():
                    file.unlink()
                await desk.start()
            assert await desk.ask() == "the one-time key is no longer live\n"

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["", "{}", '{"os_user": "a", "given": {}, "latest": "x"}'])
def test_a_file_that_cannot_be_read_refuses(tmp_path: Path, text: str) -> None:
    """Something was handed to this login, and nobody knows what."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            (tmp_path / "handed" / str(SSHD)).write_text(text)
            assert "cannot be read" in await desk.ask()
            assert desk.records[-1]["process"] == str(SSHD)
            assert "cannot be read" in desk.records[-1]["reason"]

    asyncio.run(scenario())


def test_only_root_and_only_below_sshd_may_ask(tmp_path: Path) -> None:
    """The lookup user, who reaches the socket too, uses nothing up."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            assert "only root may ask" in await desk.ask(HELPER, uid=65534)
            assert await desk.ask(SSHD.pid) != "yes\n"
            assert await desk.ask(12345) != "yes\n"
            assert desk.outcomes() == [("refused", "")] * 3
            assert desk.records[0]["principal"] == "uid:65534"
            assert len(desk.store.table.live()) == 1

    asyncio.run(scenario())
