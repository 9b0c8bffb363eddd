"""Actions on a host of a fleet: join, renew, leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from agent.client.trouble import FORBIDDEN, REFUSED, Trouble
from agent.commands.fleet import section
from agent.commands.fleet.result import print_result
from agent.commands.options import Options, Usage, refuse_more
from agent.commands.settings import load
from agent.config import identity
from agent.config.document import Problems
from agent.config.fleet_limits import FLEET
from agent.config.settings import DEFAULT_PATH, Config, Fleet
from agent.fleet.host import joining
from agent.fleet.host.files import HostFiles
from agent.fleet.messages import membership
from agent.fleet.messages.certificates import HostCertificate
from agent.fleet.messages.documents import ANYBODY, Rejected
from agent.fleet.messages.membership import HostKeys, HostRequest, Membership
from agent.fleet.messages.signing import PublicKey
from agent.fleet.messages.tokens import JoinToken

FOLDER = "/etc/sixtykey/fleet"
_RESTART = "try-restart sixtykeyd.service sixtykeyd-fleet.service"
_ENABLE = "enable --now sixtykeyd-fleet.service sixtykeyd-fleet-renew.timer"


def _explaining(action: Any) -> Any:
    """The same action, which raises its errors as Trouble."""

    def run(options: Options, words: Sequence[str]) -> int:
        try:
            return int(action(options, list(words)))
        except PermissionError as error:
            words_ = f"{error.filename}: {error.strerror}"
            hint = "run it as root: sudo sixtykey ..."
            raise Trouble(FORBIDDEN, "Forbidden", words_, hint) from None
        except OSError as error:
            raise Trouble(REFUSED, "File", f"{error.filename}: {error.strerror}") from None
        except joining.NoGateway as error:
            raise Trouble(REFUSED, "NoGateway", str(error)) from None
        except (Rejected, ValueError) as error:
            raise Trouble(REFUSED, "Refused", str(error)) from None
        except (identity.IdentityError, Problems) as error:
            raise Trouble(REFUSED, "Configuration", str(error), "sixtykey check") from None

    return run


def _join(options: Options, words: Sequence[str]) -> int:
    if len(words) != 2:
        raise Usage("join takes the gateway's URL and a TOKEN: sixtykey fleet token prints both")
    url, text = words
    if text == "-":
        # Other users can read a command line (proc(5)).
        text = sys.stdin.buffer.read(2 * FLEET.document_bytes).decode("utf-8", "replace").strip()
    config, files = _config(options), _files(options)
    if files.is_member:
        hint = "to leave: sixtykey fleet leave; to renew: sixtykey fleet renew"
        raise Trouble(REFUSED, "Member", "this host has joined a fleet already", hint)
    token, issuer = JoinToken.parse(text)
    host = identity.resolve(config.instance).instance_id
    name = options.value("--name") or os.uname().nodename.lower()
    # Check the token before any key is made, and before the gateway is asked.
    token.check(host, name, url, time.time())
    ca = joining.fetch_authority(url, token.ca)
    keys = files.make_keys()
    request = HostRequest.seal(membership.JOIN, host, name, keys, text, _now())
    given = joining.enter(url, "join", request, ca, {issuer})
    done = _store(options, files, keys, given, f"{host} ({name}) has joined the fleet of {url}")
    if not options.on("--json"):
        print(f"and: systemctl {_ENABLE}")
    return done


def _renew(options: Options, words: Sequence[str]) -> int:
    refuse_more(words, 0)
    config, files = _config(options), _files(options)
    fleet = _require_member(config, files)
    issuers = set(map(PublicKey.parse, fleet.issuers))
    keys, certificate = files.keys(), files.certificate()
    known = HostCertificate.open(certificate.encode(), ANYBODY)
    failures = []
    for url in fleet.gateways:
        request = HostRequest.seal(
            membership.RENEWAL, known.host, known.name, keys, certificate, _now()
        )
        try:
            given = joining.enter(url, "renew", request, files.authority(), issuers)
        except (joining.NoGateway, Rejected) as error:
            failures.append(f"{url}: {error}")
            continue
        return _store(options, files, keys, given, f"{known.host} has renewed its membership")
    raise Trouble(
        REFUSED, "NotRenewed", "no gateway has renewed the membership: " + "; ".join(failures)
    )


def _leave(options: Options, words: Sequence[str]) -> int:
    refuse_more(words, 0)
    config, files = _config(options), _files(options)
    fleet = _require_member(config, files)
    keys, certificate = files.keys(), files.certificate()
    known = HostCertificate.open(certificate.encode(), ANYBODY)
    request = HostRequest.seal(membership.LEAVE, known.host, known.name, keys, certificate, _now())
    failures, left = [], False
    for url in fleet.gateways:
        try:
            joining.ask(url, "leave", request, files.authority())
            left = True
            break
        except joining.NoGateway as error:
            failures.append(str(error))
        except Rejected as error:
            failures.append(f"{url}: {error}")
    section.edit(_path(options), "fleet", {})
    files.forget()
    text = f"{known.host} is a single host again: systemctl disable --now sixtykeyd-fleet"
    if left:
        text += "\nthe fleet's home revokes its credentials within a minute"
    else:
        text += (
            f"\nits credentials may still be valid: no gateway took note ({'; '.join(failures)}). "
            f"At the fleet's home: sixtykey fleet remove {known.host}"
        )
    return print_result(options, {"Left": known.host, "Told": left}, text)


def _store(
    options: Options, files: HostFiles, keys: HostKeys, given: Membership, words: str
) -> int:
    """Store a membership, after checking that it is for this host's keys."""
    certificate = HostCertificate.open(given.certificate.encode(), set(given.issuers))
    if certificate.key != keys.host.public or certificate.nkey != keys.connector.public:
        raise Rejected("the certificate is for other keys than this host's")
    files.keep(given, keys)
    paths = files.paths()
    changed = section.edit(
        _path(options),
        "fleet",
        {
            "servers": given.servers,
            "gateways": given.gateways,
            "issuers": tuple(map(str, given.issuers)),
            "ca": paths.ca,
            "identity": paths.identity,
            "key": paths.key,
            "certificate": paths.certificate,
            **_hand_written(options),
        },
    )
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(certificate.ends_at / 1000))
    told = {
        "Host": certificate.host, "Tags": dict(certificate.tags), "Until": until,
        "Changed": changed,
    }  # fmt: skip
    text = f"{words}, until {until}"
    if changed and options.on("--restart"):
        _restart()
    elif changed:
        text += f"\nnow: systemctl {_RESTART}"
    return print_result(options, told, text)


def _hand_written(options: Options) -> dict[str, Sequence[str]]:
    """The members of the section that an administrator has written, which stay."""
    fleet = _config(options).fleet
    if fleet is None or fleet.host_keys == Fleet.host_keys:
        return {}
    return {"host_keys": fleet.host_keys}


def _restart() -> None:
    """Restart daemon and connector: they read the new issuers and servers, and lose no push."""
    done = subprocess.run(["/usr/bin/systemctl", *_RESTART.split()], check=False, timeout=120)
    if done.returncode:
        raise Trouble(REFUSED, "Restart", f"systemctl {_RESTART} failed", "journalctl -xe")


def _require_member(config: Config, files: HostFiles) -> Fleet:
    if config.fleet is None or not files.is_member:
        hint = "to join one: sixtykey fleet join"
        raise Trouble(REFUSED, "NoMember", "this host belongs to no fleet", hint)
    return config.fleet


def _path(options: Options) -> str:
    return options.value("--config") or DEFAULT_PATH


def _config(options: Options) -> Config:
    return load(_path(options)) if os.path.exists(_path(options)) else Config()


def _files(options: Options) -> HostFiles:
    return HostFiles(options.value("--host-folder") or FOLDER)


def _now() -> int:
    return int(time.time() * 1000)


ACTIONS = {
    "join": _explaining(_join),
    "renew": _explaining(_renew),
    "leave": _explaining(_leave),
}
