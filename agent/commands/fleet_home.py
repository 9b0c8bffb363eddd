"""Actions at a fleet's home: make it, issue tokens, remove hosts, change the issuer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Container, Iterator, Sequence
from typing import Any

from agent.commands.options import Options, Usage, one_word
from agent.commands.trouble import DONE, FORBIDDEN, REFUSED, Trouble, plain
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet import authority, rotation
from agent.fleet.certificates import HostCertificate
from agent.fleet.documents import Rejected
from agent.fleet.home import CA, Home, Plan, gateway_name
from agent.fleet.jwt import BadToken
from agent.fleet.messages import NONCE_BYTES
from agent.fleet.registry import SqliteRegistry
from agent.fleet.servers import Server
from agent.fleet.tokens import JoinToken

FOLDER = "/etc/sixtykey/gateway"
_SERVER_FOLDER, _SERVER_STATE = "/etc/nats-sixtykey", "/var/lib/nats-sixtykey"
_REGISTRY = "/var/lib/sixtykey-gateway/hosts.db"
_TIME = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TAG = re.compile(r"([A-Za-z0-9_.:/-]{1,64})=([^\x00-\x1f]{1,64})")


@contextlib.contextmanager
def as_trouble() -> Iterator[None]:
    """What can go wrong with files and keys, as Trouble."""
    try:
        yield
    except PermissionError as error:
        words = f"{error.filename}: {error.strerror}"
        raise Trouble(FORBIDDEN, "Forbidden", words, "run it as root: sudo sixtykey ...") from None
    except OSError as error:
        raise Trouble(REFUSED, "File", f"{error.filename}: {error.strerror}") from None
    except Problems as problems:
        words = "; ".join(problems.problems)
        hint = "is this the fleet's home? sixtykey fleet init makes one; --folder names it"
        raise Trouble(REFUSED, "Home", words, hint) from None
    except (Rejected, BadToken, ValueError) as error:
        raise Trouble(REFUSED, "Fleet", str(error)) from None
    except sqlite3.Error as error:
        raise Trouble(REFUSED, "Registry", f"the registry is not usable: {error}") from None


def _home(options: Options) -> Home:
    return Home(options.value("--folder") or FOLDER)


def _print(options: Options, told: dict[str, Any], text: str) -> int:
    print(json.dumps(told, indent=2) if options.on("--json") else plain(text))
    return DONE


def _init(options: Options, words: Sequence[str]) -> int:
    if words or not options.values("--gateway") or not options.values("--server"):
        raise Usage("init needs --gateway URL and --server NAME, each at least once")
    try:
        for url in options.values("--gateway"):
            gateway_name(url)
        servers = tuple(map(Server.parse, options.values("--server")))
    except ValueError as error:
        raise Usage(str(error)) from None
    plan = Plan(
        tuple(options.values("--gateway")),
        servers,
        options.value("--server-folder") or _SERVER_FOLDER,
        options.value("--server-state") or _SERVER_STATE,
        options.value("--registry") or _REGISTRY,
    )
    with as_trouble():
        home = Home.create(options.value("--folder") or FOLDER, plan, time.time())
        SqliteRegistry.create(plan.registry)
    made = {each.folder: os.path.join(home.folder, "home/servers", each.folder) for each in servers}
    others = {
        url: os.path.join(home.folder, "home/gateways", gateway_name(url))
        for url in plan.gateways[1:]
    }
    text = [f"made the fleet's home, {home.folder}; copy, and keep its modes:"]
    text += [f"  {path}/ to {plan.server_folder}/ of {name}" for name, path in made.items()]
    text += [f"  {path}/ to {FOLDER}/ of {url}" for url, path in others.items()]
    text += [
        f"then start each server: nats-server -c {plan.server_folder}/nats-server.conf",
        f"keep {home.folder}/home secret: whoever has its keys can add and remove hosts",
    ]
    told = {"Home": home.folder, "Issuer": str(home.facts.issuers[0]), "Servers": made}
    return _print(options, {**told, "Gateways": others}, "\n".join(text))


def _server(options: Options, words: Sequence[str]) -> int:
    try:
        server = Server.parse(one_word(words, "the server's NAME"))
    except ValueError as error:
        raise Usage(str(error)) from None
    with as_trouble():
        home = _home(options)
        path = home.write_server(server, time.time())
    where = home.facts.server_folder
    text = [
        f"copy {path}/ to {where}/ of {server.name}, and start it there or reload it (SIGHUP)",
        *_copies(home),
        _RELOAD,
        "hosts learn of it when they renew their membership, each day",
    ]
    return _print(options, {"Server": server.folder, "Folder": path}, "\n".join(text))


def _copies(home: Home) -> list[str]:
    """What to do for the other gateways, if there are any, when shared files have changed."""
    more = len(home.facts.gateways) > 1
    return [f"copy {home.folder}/home/gateways/* to the other gateways"] if more else []


def _gateway(options: Options, words: Sequence[str]) -> int:
    url = one_word(words, "the gateway's URL")
    try:
        gateway_name(url)
    except ValueError as error:
        raise Usage(str(error)) from None
    with as_trouble():
        path = _home(options).write_gateway(url, time.time())
    here = path == (options.value("--folder") or FOLDER)
    text = "systemctl restart sixtykey-gateway" if here else f"copy {path}/ to {FOLDER}/ of {url}"
    return _print(options, {"Gateway": url, "Folder": path}, text)


def _token(options: Options, words: Sequence[str]) -> int:
    if words or not options.values("--hosts"):
        raise Usage("say which hosts may join: --hosts NAME; --hosts '*' means all")
    uses = options.value("--uses") or "1"
    if not uses.isascii() or not uses.isdigit() or not 0 < int(uses) <= 1_000_000:
        raise Usage("--uses is a number of hosts, 1 to 1000000")
    lifetime, now = _seconds(options.value("--lifetime") or "1h"), time.time()
    tags = dict(map(_tag, options.values("--tag")))
    with as_trouble():
        home = _home(options)
        token = JoinToken(
            secrets.token_bytes(NONCE_BYTES),
            home.facts.gateways[0],
            authority.fingerprint(home.file(CA)),
            tuple(options.values("--hosts")),
            tuple(options.values("--instances")) or ("*",),
            tags,
            int(uses),
            int(now * 1000),
            int((now + lifetime) * 1000),
        )
        text = token.dump(home.issuer())
    told = {"Token": text, "URL": token.url, "Uses": token.uses, "Tags": dict(token.tags)}
    return _print(options, told, f"sixtykey fleet join {token.url} {text}")


def _remove(options: Options, words: Sequence[str]) -> int:
    if options.on("--left"):
        return _remove_left(options, words)
    host = one_word(words, "the HOST: its instance id or its name")
    with as_trouble():
        home, now = _home(options), time.time()
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            gone = registry.remove(host, now)
            former = registry.former(each.host for each in gone)
        token = home.revoke([*(each.nkey for each in gone), *former], now)
    return _send_account(options, home, token, gone)


def _remove_left(options: Options, words: Sequence[str]) -> int:
    """Revoke the keys of hosts that have left; a timer runs this. Silent if there is none."""
    if words:
        raise Usage(f"unexpected: {' '.join(words)}")
    with as_trouble():
        home, now = _home(options), time.time()
        # Do this before opening the registry: afterwards this process may not read the home.
        revoked = home.revoked()
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            gone, former = departed(registry, revoked, now)
        token = home.unsent()
        if gone or former:
            token = home.revoke([*(each.nkey for each in gone), *former], now)
            with SqliteRegistry.for_operator(home.facts.registry) as registry:
                registry.forget_former(former)
    if token is not None:
        return _send_account(options, home, token, gone)
    return _print(options, {"Removed": []}, "") if options.on("--json") else DONE


def departed(
    registry: SqliteRegistry, revoked: Container[str], now: float
) -> tuple[list[HostCertificate], list[str]]:
    """The hosts that left and are not revoked yet, and their nkeys that were replaced."""
    # An older membership can no longer be renewed.
    oldest = now - FLEET.membership_seconds - FLEET.grace_seconds
    gone = [
        known.certificate
        for known in registry.hosts()
        if known.gone_at is not None
        and known.gone_at > oldest
        and known.certificate.nkey not in revoked
    ]
    return gone, [each for each in registry.all_former() if each not in revoked]


def _send_account(options: Options, home: Home, token: str, gone: Sequence[HostCertificate]) -> int:
    """Send the account's token, which has the removals, to the servers of the bus."""
    import asyncio

    from agent.fleet import bus

    names = sorted(server.folder for server in home.facts.servers)
    try:
        told = asyncio.run(bus.update_account(home.system_access(), token, len(names)))
    except bus.Unreachable as error:
        hint = "the removal is in force at the gateways; run it again when a server is up"
        raise Trouble(REFUSED, "Unreachable", str(error), hint) from None
    if told:
        home.mark_sent()
    missing = sorted(set(names) - set(told))
    what = ", ".join(f"{each.host} ({each.name})" for each in gone) or "earlier removals"
    text = f"removed {what}: disconnected from the bus at {', '.join(told)}"
    if missing:
        text += f"; {', '.join(missing)} did not answer, and will follow once they are back"
    if len(home.facts.gateways) > 1:
        # Until they have the account's token they believe its answers, and renew what it has.
        text += "\nthe other gateways ask for it twice a minute: sixtykey fleet status"
    hosts = [each.host for each in gone]
    return _print(options, {"Removed": hosts, "Told": list(told), "Missing": missing}, text)


def _rotate(options: Options, words: Sequence[str]) -> int:
    if words:
        raise Usage(f"unexpected: {' '.join(words)}")
    with as_trouble():
        home = _home(options)
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            hosts = registry.hosts()
        try:
            step = rotation.advance(home, hosts, time.time(), options.on("--anyway"))
        except rotation.NotYet as late:
            shown = ", ".join(late.hosts[:10]) + (", ..." if len(late.hosts) > 10 else "")
            words_ = f"not yet: {late}: {shown}"
            hint = "on each: sixtykey fleet renew (a timer does it daily); then run this again"
            raise Trouble(REFUSED, "NotYet", words_, hint) from None
    text = [
        _STEPS[step.stage],
        *_copies(home),
        _RELOAD,
    ]
    return _print(
        options,
        {"Stage": step.stage, "Issuers": list(step.issuers)},
        "\n".join([*text, _NEXT[step.stage]]),
    )


_RELOAD = "reload each gateway: systemctl reload sixtykey-gateway"
_STEPS = {
    rotation.INTRODUCED: "made the next issuer; the previous one still signs",
    rotation.SWAPPED: "the next issuer signs from now on; the previous one is still accepted",
    rotation.NONE: "done: the previous issuer is no longer accepted",
}
_NEXT = {
    rotation.INTRODUCED: "hosts get it when they renew; then: sixtykey fleet rotate",
    rotation.SWAPPED: "hosts get new certificates when they renew; then: sixtykey fleet rotate",
    rotation.NONE: "nothing more to do",
}


def _seconds(text: str) -> int:
    found = _TIME.fullmatch(text)
    if not found:
        raise Usage(f"a time looks like 90s, 30m, 1h or 7d, and {text!r} does not")
    return int(found[1]) * _SECONDS[found[2]]


def _tag(text: str) -> tuple[str, str]:
    found = _TAG.fullmatch(text)
    if not found:
        raise Usage(f"a tag looks like role=web, and {text!r} does not")
    return found[1], found[2]


ACTIONS = {
    "init": _init,
    "server": _server,
    "gateway": _gateway,
    "token": _token,
    "remove": _remove,
    "rotate": _rotate,
}
