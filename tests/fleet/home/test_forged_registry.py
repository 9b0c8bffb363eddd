"""Root revokes what the registry names, and the registry belongs to the gateway's user."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.config.fleet_limits import FLEET
from agent.fleet.bus import jwt, nats_client, nkeys
from agent.fleet.bus.nkeys import KeyPair
from agent.fleet.home.home import CREDS, Home
from agent.fleet.home.registry import SqliteRegistry
from agent.fleet.messages.membership import HostKeys
from tests.fleet.home.test_leaving import Running, steal
from tests.parts.bus import make_home
from tests.parts.command import run
from tests.parts.host import work_directory

FORGED = "i-00000000000000bad"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Running]:
    """A running fleet."""
    with work_directory() as directory:
        made = Running(directory)
        with made.bus, made.gateway:
            made.gateway.await_bus()
            yield made


@pytest.fixture(scope="module")
def kept(fleet: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The credentials of a host that stays a member through every test."""
    folder = tmp_path_factory.mktemp("kept")
    return steal(fleet.member(folder), folder)[0]


def write(home: Home, statement: str, *values: Any) -> None:
    """Change the registry as the gateway's user can."""
    with closing(sqlite3.connect(home.facts.registry)) as database, database:
        database.execute(statement, values)


def forge(home: Home, gone_at: Any, **changes: Any) -> None:
    """Write a row of a host, with these columns changed."""
    keys = HostKeys.generate()
    columns: dict[str, Any] = {
        "instance": FORGED, "name": "web-0", "key": str(keys.host.public),
        "nkey": keys.connector.public, "tags": "{}", "token": "00", "issued_at": 1, "ends_at": 1,
        **changes,
    }  # fmt: skip
    statement = "REPLACE INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    write(home, statement, *columns.values(), gone_at)


@pytest.fixture
def home(fleet: Running) -> Iterator[Home]:
    """The fleet's home; forged rows are deleted afterwards."""
    found = Home(str(fleet.folder))
    yield found
    write(found, "DELETE FROM hosts WHERE instance = ?", FORGED)
    write(found, "DELETE FROM former")


def everybody(_: Home) -> str:
    """What revokes all users of an account."""
    return "*"


def gateway(home: Home) -> str:
    """The gateway's own nkey."""
    return jwt.read_creds(home.file(CREDS))[1].public


def other_gateway(home: Home) -> str:
    """The nkey of the gateway whose folder is to be copied."""
    text = (Path(home.folder) / "home/gateways/gw-2-example-443" / CREDS).read_text()
    return jwt.read_creds(text)[1].public


def account(home: Home) -> str:
    """The key of the fleet's account."""
    return home.facts.account.identity


def no_text(_: Home) -> bytes:
    """No text at all."""
    return b"\xff\x00"


@pytest.mark.parametrize("table", ["hosts", "former"])
@pytest.mark.parametrize("of", [everybody, gateway, other_gateway, account, no_text])
def test_a_forged_row_revokes_no_more_than_a_host(
    fleet: Running, home: Home, tmp_path: Path, kept: Path, of: Any, table: str
) -> None:
    """A row with what is no host's nkey is skipped and reported; a host that left is revoked."""
    left = fleet.member(tmp_path)
    copy, certificate = steal(left, tmp_path)
    assert left.fleet("leave").code == 0
    if table == "hosts":
        forge(home, time.time(), nkey=of(home))
    else:
        write(home, "INSERT INTO former VALUES (?, ?)", of(home), FORGED)
    done = fleet.home("remove", "--left", "--json")
    assert (done.code, FORGED in done.err) == (0, True), done
    assert done.json["Removed"] == [certificate.host]
    assert list(done.json["Skipped"]) == [FORGED]
    assert of(home) not in home.revoked()
    assert not fleet.may_connect(copy)
    assert fleet.may_connect(kept)
    assert fleet.may_connect(fleet.folder / CREDS)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "not a key"},
        {"name": b"\xff"},
        {"name": "No name"},
        {"tags": "{"},
        {"tags": "[" * 100_000},
        {"tags": "[]"},
        {"issued_at": "soon"},
        {"gone_at": "soon"},
    ],
    ids=lambda changes: re.sub(r"\W+", "-", str(changes))[:30],
)
def test_an_unreadable_row_does_not_stop_the_others(
    fleet: Running, home: Home, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """A row that is not readable is named; what else has left is revoked."""
    host = fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    assert host.fleet("leave").code == 0
    forge(home, **{"gone_at": time.time(), **changes})
    done = fleet.home("remove", "--left")
    assert (done.code, certificate.host in done.out, FORGED in done.err) == (0, True, True), done
    assert not fleet.may_connect(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "not a key"},
        {"tags": "{"},
        {"issued_at": "soon"},
        {"nkey": "*"},
        {"nkey": b"\xff\x00"},
        {"nkey": 7},
        {"instance": b"\xff"},
    ],
    ids=lambda changes: re.sub(r"\W+", "-", str(changes))[:30],
)
def test_a_forged_row_does_not_stop_the_removal_of_a_host(
    fleet: Running, home: Home, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """If a damaged or forged row has the name of a host, that host is removed by its name."""
    host = fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    forge(home, None, **{"name": certificate.name, **changes})
    done = fleet.home("remove", certificate.name, "--json")
    assert done.code == 0, done
    assert certificate.host in done.json["Removed"]
    # A row is skipped only if there is nothing in it that could be revoked.
    assert bool(done.json["Skipped"]) == ("nkey" in changes), done
    assert not fleet.may_connect(copy)
    assert fleet.may_connect(fleet.folder / CREDS)
    write(home, "DELETE FROM hosts WHERE name = ?", certificate.name)


def test_a_host_whose_row_is_damaged_is_removed(fleet: Running, home: Home, tmp_path: Path) -> None:
    """A host of whose row only the nkey can be read is revoked; without that, the command fails."""
    host = fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    write(home, "UPDATE hosts SET key = 'x', tags = '{' WHERE instance = ?", certificate.host)
    assert fleet.home("remove", certificate.host).code == 0
    assert not fleet.may_connect(copy)
    forge(home, None, nkey="*")
    failed = fleet.home("remove", FORGED)
    assert (failed.code, FORGED in failed.err) == (1, True)
    assert "nothing is revoked" in failed.err
    assert "Traceback" not in failed.err
    assert "*" not in home.revoked()


def test_forged_former_keys_do_not_stop_the_removal_of_a_host(
    fleet: Running, home: Home, tmp_path: Path
) -> None:
    """However many former keys are forged for a host, it is removed by its id."""
    host = fleet.member(tmp_path)
    copy, certificate = steal(host, tmp_path)
    left = json.dumps(many(FLEET.account_bytes // 93))
    write(home, "INSERT INTO former SELECT value, ? FROM json_each(?)", certificate.host, left)
    done = fleet.home("remove", certificate.host)
    assert done.code == 0, done
    assert not fleet.may_connect(copy)


def test_text_that_is_not_utf_8_does_not_stop_the_others(tmp_path: Path) -> None:
    """A row whose text is not UTF-8 is unreadable by itself; the other is read."""
    home = make_home(tmp_path)
    SqliteRegistry.create(home.facts.registry)
    forge(home, None)
    forge(home, None, instance="i-00000000000000002")
    write(home, "UPDATE hosts SET name = CAST(x'ff' AS TEXT) WHERE instance = ?", FORGED)
    hosts, unreadable = SqliteRegistry(home.facts.registry).read()
    assert [each.certificate.host for each in hosts] == ["i-00000000000000002"]
    assert list(unreadable) == [FORGED]


def test_an_unreadable_row_does_not_stop_the_rotation() -> None:
    """`fleet rotate` names a row that is not readable, and goes on."""
    with work_directory() as directory:
        home = make_home(directory)
        SqliteRegistry.create(home.facts.registry)
        forge(home, None, key="not a key")
        done = run("fleet", "rotate", "--folder", home.folder)
        assert (done.code, FORGED in done.err) == (0, True), done
        assert Home(home.folder).facts.rotation.stage == "introduced"


def many(count: int) -> list[str]:
    """This many nkeys."""
    return [KeyPair.generate(nkeys.USER).public for _ in range(count)]


@pytest.mark.parametrize("bad", ["*", "U", ""])
def test_nothing_but_users_nkeys_is_ever_revoked(tmp_path: Path, bad: str) -> None:
    """The home itself refuses to sign anything else, and changes nothing."""
    home = make_home(tmp_path)
    for each in (bad, gateway(home)):
        with pytest.raises(ValueError, match="cannot revoke"):
            home.revoke([*many(1), each], time.time())
    assert (home.revoked(), home.unsent()) == ({}, None)


def test_too_many_removals_are_refused_and_change_nothing(tmp_path: Path) -> None:
    """If the account's token became too large, the home says so before it writes anything."""
    home = make_home(tmp_path)
    first, now = many(2), time.time()
    home.revoke(first, now)
    home.mark_sent()
    with pytest.raises(ValueError, match=r"nothing is revoked: .* 194 days"):
        home.revoke(many(FLEET.account_bytes // 93), now)
    assert (set(home.revoked()), home.unsent()) == (set(first), None)
    # Once the first have ended there is room again.
    home.revoke(many(2), now + 195 * 86_400)
    assert not set(first) & set(home.revoked())


def test_an_operator_can_remove_when_the_registry_is_flooded(tmp_path: Path) -> None:
    """Hosts that leave fill the token up to a part; the operator's removals have the rest."""
    with work_directory() as directory:
        fleet = Running(directory)
        with fleet.bus, fleet.gateway:
            fleet.gateway.await_bus()
            home, host = Home(str(fleet.folder)), fleet.member(tmp_path)
            copy, certificate = steal(host, tmp_path)
            # In one transaction: each of them waits for the disk.
            left = json.dumps(many(FLEET.account_left_bytes // 93))
            write(home, "INSERT INTO former SELECT value, ? FROM json_each(?)", FORGED, left)
            before = home.file("account.jwt")
            flooded = fleet.home("remove", "--left")
            assert (flooded.code, "nothing is revoked" in flooded.err) == (1, True), flooded
            assert home.file("account.jwt") == before
            home.revoke(many(FLEET.account_left_bytes // 93), time.time())
            removed = fleet.home("remove", certificate.host)
            assert (removed.code, "warning: removed hosts take" in removed.err) == (0, True)
            assert not fleet.may_connect(copy)


def test_a_token_that_the_bus_does_not_take_is_explained(home: Home) -> None:
    """A token over the servers' limit is no traceback: the error says what cannot be sent."""
    with pytest.raises(nats_client.Unreachable, match=r"token, 2000000 bytes, cannot be sent"):
        asyncio.run(nats_client.update_account(home.system_access(), "x" * 2_000_000, ["bus-1"]))
