"""agent/lookup/admission.py: one push of a one-time key admits exactly one login."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.host.process import Process
from tests.parts.admission_desk import HERE, THERE, opened
from tests.parts.leases import ed25519_key
from tests.parts.proc import BELOW_CHILD, HELPER, OTHER, OTHER_PAM_ACCOUNT, PAM_ACCOUNT, SSHD


def test_a_login_without_a_one_time_key_is_admitted(tmp_path: Path) -> None:
    """A login that was handed no one-time key is admitted, uses no lease and is not recorded."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            await desk.push()
            assert await desk.ask() == "yes\n"
            assert (len(desk.store.table.live()), desk.outcomes()) == (1, [])

    asyncio.run(scenario())


def test_of_two_logins_with_one_push_the_first_is_admitted(tmp_path: Path) -> None:
    """Of two logins with one one-time key the first is admitted and the second refused.

    The refusal says when and from where the key was used, and both are recorded.
    """

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


def test_no_flood_displaces_the_record_of_an_admission(tmp_path: Path) -> None:
    """The record of an admitted login is essential in the audit, and that of a refused one not."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push()
            for process in (SSHD, OTHER):
                desk.handouts.record(process, [lease])
            assert await desk.ask() == "yes\n"
            assert await desk.ask(OTHER_PAM_ACCOUNT) != "yes\n"
            assert [outcome for outcome, _ in desk.outcomes()] == ["admitted", "refused"]
            assert desk.kept == ["admitted"]

    asyncio.run(scenario())


def test_a_login_that_asks_again_gets_the_same_answer(tmp_path: Path) -> None:
    """A login that asks again is admitted again, also after a restart of the daemon."""

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
    """Two pushes of a key admit two logins of three."""

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
    """A lease with other options than the first line handed out does not admit a login."""

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


def test_a_key_pinned_to_another_address_is_not_consumed(tmp_path: Path) -> None:
    """A login from elsewhere than the key's pinned source is admitted, and uses no lease."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push(pinned_source=HERE)
            desk.handouts.record(SSHD, [lease])
            assert await desk.ask(address=THERE) == "yes\n"
            assert await desk.ask(address=THERE, partial=True) == "yes\n"
            desk.host.clock.advance(61)  # the lease has ended before the password is typed
            assert await desk.ask(address=THERE) == "yes\n"
            assert desk.outcomes() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("address", [HERE, f"::ffff:{HERE}", "-"])
def test_a_key_pinned_to_this_address_is_consumed(tmp_path: Path, address: str) -> None:
    """A key pinned to the login's address is used, also when the address is unknown."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            lease = await desk.push(pinned_source=HERE)
            desk.handouts.record(SSHD, [lease])
            assert await desk.ask(address=address) == "yes\n"
            assert desk.outcomes() == [("admitted", lease.request_id)]

    asyncio.run(scenario())


def test_the_push_that_fits_the_address_is_used(tmp_path: Path) -> None:
    """Of several pushes of a key, the one whose pinned source matches the login is used."""

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
    """Of two keys handed to one login, the one that sshd asked for last is used."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            one, other = await desk.push(), await desk.push()
            desk.handouts.record(SSHD, [one])
            desk.handouts.record(SSHD, [other])
            assert await desk.ask() == "yes\n"
            assert desk.outcomes() == [("admitted", other.request_id)]
            assert [e.request_id for e in desk.store.table.live()] == [one.request_id]

    asyncio.run(scenario())


def test_a_login_with_another_key_consumes_no_push(tmp_path: Path) -> None:
    """A login whose last lookup gave no one-time key uses none of those handed out before."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            desk.handouts.record(SSHD, [await desk.push()])
            desk.handouts.record_other(HELPER)
            assert (await desk.ask(), desk.outcomes()) == ("yes\n", [])

    asyncio.run(scenario())


def test_after_a_first_step_by_key_all_keys_count(tmp_path: Path) -> None:
    """After a partial authentication, every one-time key handed to the login is used.

    With AuthenticationMethods publickey,password any of them may have been the first step.
    """

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
    """A question from a child of the login process is answered for that login."""

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
def test_a_key_that_is_no_longer_live_admits_nobody(tmp_path: Path, what: str) -> None:
    """A one-time key that expired, was revoked or was lost with the journal is refused."""

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
def test_an_unreadable_file_refuses_the_login(tmp_path: Path, text: str) -> None:
    """A login whose hand-out file cannot be read is refused, and the refusal is recorded."""

    async def scenario() -> None:
        async with opened(tmp_path) as desk:
            (tmp_path / "handed" / str(SSHD)).write_text(text)
            assert "cannot be read" in await desk.ask()
            assert desk.records[-1]["process"] == str(SSHD)
            assert "cannot be read" in desk.records[-1]["reason"]

    asyncio.run(scenario())


def test_only_root_and_only_below_sshd_may_ask(tmp_path: Path) -> None:
    """A question from another user than root, or from outside sshd, is refused."""

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
