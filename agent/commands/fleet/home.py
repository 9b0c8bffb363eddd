"""Actions at a fleet's home: make it, issue tokens, change the issuer."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from agent.client.trouble import FORBIDDEN, REFUSED, Trouble, plain
from agent.commands.fleet.result import print_result
from agent.commands.options import Options, Usage, one_word, refuse_more
from agent.config import patterns
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.fleet.bus.jwt import BadToken
from agent.fleet.bus.servers import Server
from agent.fleet.home import authority, rotation
from agent.fleet.home.home import CA, Home, Plan, gateway_name
from agent.fleet.home.registry import SqliteRegistry
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.lease_exchange import NONCE_BYTES
from agent.fleet.messages.tokens import JoinToken

FOLDER = "/etc/sixtykey/gateway"
_SERVER_FOLDER, _SERVER_STATE = "/etc/nats-sixtykey", "/var/lib/nats-sixtykey"
_REGISTRY = "/var/lib/sixtykey-gateway/hosts.db"
_TIME = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TAG = re.compile(r"([A-Za-z0-9_.:/-]{1,64})=([^\x00-\x1f]{1,64})")


@contextlib.contextmanager
def as_trouble() -> Iterator[None]:
    """Raise errors about files and keys as Trouble, which says what to do."""
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


def home_of(options: Options) -> Home:
    """The fleet's home that the options name. Raises OSError and Problems."""
    return Home(options.value("--folder") or FOLDER)


def report_skipped(rows: Mapping[str, str]) -> None:
    """Say on stderr which rows of the registry are skipped, by instance id, and why."""
    for instance, reason in list(rows.items())[: FLEET.skipped]:
        print(plain(f"sixtykey: skipped in the registry: {instance}: {reason}"), file=sys.stderr)
    if len(rows) > FLEET.skipped:
        print(f"sixtykey: and {len(rows) - FLEET.skipped} more", file=sys.stderr)


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
    return print_result(options, {**told, "Gateways": others}, "\n".join(text))


def _server(options: Options, words: Sequence[str]) -> int:
    try:
        server = Server.parse(one_word(words, "the server's NAME"))
    except ValueError as error:
        raise Usage(str(error)) from None
    with as_trouble():
        home = home_of(options)
        path = home.write_server(server, time.time())
    where = home.facts.server_folder
    text = [
        f"copy {path}/ to {where}/ of {server.name}, and start it there or reload it (SIGHUP)",
        *_how_to_copy(home),
        _RELOAD,
        "hosts learn of it when they renew their membership, each day",
    ]
    return print_result(options, {"Server": server.folder, "Folder": path}, "\n".join(text))


def _how_to_copy(home: Home) -> list[str]:
    """What to do for other gateways, if there are any, after a change of the shared files."""
    more = len(home.facts.gateways) > 1
    return [f"copy {home.folder}/home/gateways/* to the other gateways"] if more else []


def _gateway(options: Options, words: Sequence[str]) -> int:
    url = one_word(words, "the gateway's URL")
    try:
        gateway_name(url)
    except ValueError as error:
        raise Usage(str(error)) from None
    with as_trouble():
        path = home_of(options).write_gateway(url, time.time())
    here = path == (options.value("--folder") or FOLDER)
    text = "systemctl restart sixtykey-gateway" if here else f"copy {path}/ to {FOLDER}/ of {url}"
    return print_result(options, {"Gateway": url, "Folder": path}, text)


def _token(options: Options, words: Sequence[str]) -> int:
    if words or not options.values("--hosts"):
        raise Usage("say which hosts may join: --hosts NAME; --hosts '*' means all")
    uses = options.value("--uses") or "1"
    if not uses.isascii() or not uses.isdigit() or not 0 < int(uses) <= 1_000_000:
        raise Usage("--uses is a number of hosts, 1 to 1000000")
    lifetime, now = _seconds(options.value("--lifetime") or "1h"), time.time()
    tags = dict(map(_tag, options.values("--tag")))
    try:
        for each in [*options.values("--hosts"), *options.values("--instances")]:
            patterns.glob(each)
    except ValueError as error:
        raise Usage(f"{each}: {error}") from None
    with as_trouble():
        home = home_of(options)
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
    return print_result(options, told, f"sixtykey fleet join {token.url} {text}")


def _rotate(options: Options, words: Sequence[str]) -> int:
    refuse_more(words, 0)
    with as_trouble():
        home = home_of(options)
        with SqliteRegistry.for_operator(home.facts.registry) as registry:
            hosts, unreadable = registry.read()
        report_skipped(unreadable)
        try:
            step = rotation.advance(home, hosts, time.time(), options.on("--anyway"))
        except rotation.NotYet as late:
            shown = ", ".join(late.hosts[:10]) + (", ..." if len(late.hosts) > 10 else "")
            words_ = f"not yet: {late}: {shown}"
            hint = "on each: sixtykey fleet renew (a timer does it daily); then run this again"
            raise Trouble(REFUSED, "NotYet", words_, hint) from None
    text = [
        _STEPS[step.stage],
        *_how_to_copy(home),
        _RELOAD,
    ]
    return print_result(
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
    "rotate": _rotate,
}
