"""`sixtykey fleet remove`: revoke the keys of a host, or of all that have left."""

from __future__ import annotations

import sys
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.client.trouble import DONE, REFUSED, Trouble
from agent.commands.fleet.home import as_trouble, home_of, report_skipped
from agent.commands.fleet.result import print_result
from agent.commands.options import Options, one_word, refuse_more
from agent.config.fleet_limits import FLEET
from agent.fleet.home import revocation
from agent.fleet.home.home import Home
from agent.fleet.home.registry import Listed, SqliteRegistry


@dataclass(frozen=True)
class Departed:
    """Hosts that left and are not revoked yet, according to the registry, which is not trusted.

    `former`: nkeys that other hosts have replaced, each with its instance id. `skipped`: by
    instance id, why a row is skipped.
    """

    gone: Sequence[Listed]
    former: Mapping[Any, str]
    skipped: Mapping[str, str]


def _remove(options: Options, words: Sequence[str]) -> int:
    if options.on("--left"):
        return _remove_left(options, words)
    host = one_word(words, "the HOST: its instance id or its name")
    with as_trouble():
        home, now = home_of(options), time.time()
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            gone = registry.remove(host, now)
            former = registry.former(each.host for each in gone)
        found, wanted = _revocable(home, Departed(gone, former, {}))
        report_skipped(found.skipped)
        if not found.gone:
            hint = "the registry is damaged or forged: restore a backup of it, and repeat this"
            raise Trouble(REFUSED, "Registry", f"nothing is revoked of {host}", hint)
        token = home.revoke(wanted, now)
    return _send_account(options, home, token, found)


def _remove_left(options: Options, words: Sequence[str]) -> int:
    """Revoke the keys of hosts that have left; a timer runs this. Silent if there is none."""
    refuse_more(words, 0)
    with as_trouble():
        home, now = home_of(options), time.time()
        # Before the registry is opened: from then on this process may not read the home.
        revoked = home.revoked()
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            named = list_departed(registry, revoked, now)
        found, wanted = _revocable(home, named)
        report_skipped(found.skipped)
        token = home.unsent()
        if wanted:
            token = home.revoke(wanted, now, FLEET.account_left_bytes)
        if named.former:
            with SqliteRegistry.for_operator(home.facts.registry) as registry:
                registry.forget_former(named.former)
    if token is not None:
        return _send_account(options, home, token, found)
    told = {"Removed": [], "Skipped": dict(found.skipped)}
    return print_result(options, told, "") if options.on("--json") else DONE


def list_departed(registry: SqliteRegistry, revoked: Container[str], now: float) -> Departed:
    """The hosts that left and are not revoked yet, and their nkeys that were replaced."""
    # An older membership can no longer be renewed.
    oldest = now - FLEET.membership_seconds - FLEET.grace_seconds
    hosts, unreadable = registry.read()
    gone = [
        Listed(known.certificate.host, known.certificate.name, known.certificate.nkey)
        for known in hosts
        if known.gone_at is not None
        and known.gone_at > oldest
        and known.certificate.nkey not in revoked
    ]
    former = {nkey: host for nkey, host in registry.all_former().items() if nkey not in revoked}
    return Departed(gone, former, unreadable)


def _revocable(home: Home, found: Departed) -> tuple[Departed, list[str]]:
    """Skip also the rows whose nkeys must not be revoked; returns the rest, and its nkeys."""
    rows = [*found.former.items(), *((each.nkey, each.host) for each in found.gone)]
    bad = home.irrevocable(nkey for nkey, _ in rows)
    skipped = {**found.skipped, **{host: bad[nkey] for nkey, host in rows if nkey in bad}}
    gone = [each for each in found.gone if each.nkey not in bad]
    former = {nkey: host for nkey, host in found.former.items() if nkey not in bad}
    wanted = dict.fromkeys(nkey for nkey, _ in rows if nkey not in bad)
    return Departed(gone, former, skipped), list(wanted)


def _send_account(options: Options, home: Home, token: str, found: Departed) -> int:
    """Send the account's token, which has the removals, to the servers of the bus."""
    import asyncio

    from agent.fleet.bus import nats_client

    if large := revocation.warning(token):
        print(f"sixtykey: {large}", file=sys.stderr)
    names = sorted(server.folder for server in home.facts.servers)
    try:
        told = asyncio.run(nats_client.update_account(home.system_access(), token, names))
    except nats_client.Unreachable as error:
        hint = "the removal is in force at the gateways; run it again when a server is up"
        raise Trouble(REFUSED, "Unreachable", str(error), hint) from None
    if told.accepted and not told.refused:
        home.mark_sent()
    missing = sorted(set(names) - set(told.accepted) - set(told.refused))
    hosts = [each.host for each in found.gone]
    what = ", ".join(f"{each.host} ({each.name})" for each in found.gone) or "earlier removals"
    text = f"removed {what}: disconnected from the bus at {', '.join(told.accepted)}"
    if missing:
        text += f"; {', '.join(missing)} did not answer, and will follow once they are back"
    for name, reason in told.refused.items():
        text += f"\n{name} refuses it: {reason}; sixtykey fleet remove --left sends it again"
    if len(home.facts.gateways) > 1:
        # Until they have the account's token, they accept the host's answers and renew it.
        text += "\nthe other gateways ask for it twice a minute: sixtykey fleet status"
    answer = {"Removed": hosts, "Told": list(told.accepted), "Refused": dict(told.refused)}
    more = {"Missing": missing, "Skipped": dict(found.skipped)}
    done = print_result(options, {**answer, **more}, text)
    return REFUSED if told.refused else done


ACTIONS = {"remove": _remove}
