"""sixtykey check: would a login work on this host? Every fault by name, with what to do."""

from __future__ import annotations

import json
import os

from agent.client.trouble import BLIND, DONE, REFUSED, plain
from agent.commands.options import DAEMON, JSON, refuse_more
from agent.commands.settings import DEFAULT_PATH, third_party

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Optional

    from agent.commands.checks.finding import Finding
    from agent.commands.options import Options
    from agent.config.settings import Config

USAGE = "sixtykey check [--from ADDRESS] [--strict] [--json] [USER]"
HELP = """\
Checks everything that a login with a pushed key depends on: configuration and credentials, the
daemon and its sockets, the output of sshd -T for a login of USER, other AuthorizedKeysCommands, the
account, PAM's line for one-time keys, the clock, SELinux; on a member of a fleet also its
connector, its membership, and, by a request to a gateway, the difference of their clocks. It
changes nothing. Without USER, no account is checked, and sshd -T is run for a user that no Match
block names.

Exit code 0: nothing wrong (notes do not count, unless --strict is given); 1: findings; 2: no
findings, but something could not be checked, usually because it needs root.

example:
  sudo sixtykey check deploy"""
OPTIONS = {
    "--from": ("ADDRESS", "where the login comes from, for Match blocks (default: 192.0.2.1)"),
    "--strict": ("", "count notes as findings"),
    "--sshd-config": ("FILE", "sshd's configuration (default: /etc/ssh/sshd_config)"),
    "--sshd": ("PATH", "which sshd (default: the one of /usr/sbin)"),
    **JSON,
    **DAEMON,
}

# RFC 5737: an address for documentation, which no host has. A user name that no host has.
_SOMEWHERE, _SOMEBODY = "192.0.2.1", "sixtykey-check"
_MARKS = {"fault": "FAULT", "note": "note ", "unknown": "?    "}


def run(options: Options, words: Sequence[str]) -> int:
    """Print every finding; the exit code says whether there is a fault."""
    refuse_more(words, 1)
    third_party()
    user = words[0] if words else None
    looked = list(examine(options, user))
    found = [finding for finding in looked if finding.severity != "fact"]
    facts = [finding for finding in looked if finding.severity == "fact"]
    counted = {"fault", "note"} if options.on("--strict") else {"fault"}
    if options.on("--json"):
        told = {"Findings": [finding.as_dict() for finding in found]}
        told["Facts"] = [{"Name": fact.name, "What": fact.what} for fact in facts]
        print(json.dumps(told, indent=2))
    else:
        for fact in facts:
            print(plain(fact.what))
        _print(found, user)
    if any(finding.severity in counted for finding in found):
        return REFUSED
    return BLIND if any(finding.severity == "unknown" for finding in found) else DONE


def examine(options: Options, user: Optional[str]) -> Iterable[Finding]:
    """Every finding, the daemon's first, then sshd's, then the host's."""
    from agent.commands.checks import account, files, finding, fleet, host, one_time, sshd

    path = options.value("--config") or DEFAULT_PATH
    config, wrong = files.configuration(path)
    yield from wrong
    status = None
    if config is not None:
        status, wrong = _daemon(options, config)
        yield from wrong
        yield from fleet.membership(config, status)
    here = finding.Host(
        sshd=options.value("--sshd"),
        sshd_config=options.value("--sshd-config") or finding.THIS_HOST.sshd_config,
    )
    settings, wrong = sshd.effective(here, user or _SOMEBODY, options.value("--from") or _SOMEWHERE)
    yield from wrong
    if settings is not None:
        yield from sshd.logins(settings, config, here)
    yield from one_time.one_time(config, settings, here)
    if user is not None:
        yield from account.account(user, settings, here)
        if settings is not None:
            yield from sshd.check_admission(settings, user)
    yield from host.clock(status)
    yield from host.selinux(here)


def _daemon(options: Options, config: Config) -> tuple[Optional[dict[str, object]], list[Finding]]:
    from agent.commands.checks import certificates, files, sockets
    from agent.commands.client import Daemon

    daemon = Daemon(options, config.push.socket)
    status, found = sockets.status_of(daemon)
    process = None if status is None else int(str(status["ProcessId"]))
    owner = files.owner(process)
    found += files.credentials(config, owner) + certificates.certificates(config)
    found += files.journal(config, owner) + sockets.push_group(config)
    return status, found


def _print(found: Sequence[Finding], user: Optional[str]) -> None:
    for finding in found:
        print(f"{_MARKS[finding.severity]} {finding.name}: {plain(finding.what)}")
        print(f"      -> {plain(finding.remedy)}")
    faults = sum(finding.severity == "fault" for finding in found)
    blind = sum(finding.severity == "unknown" for finding in found)
    whom = f"{user} can log in" if user else "a login works"
    if faults:
        print(f"{faults} to fix before a pushed key works" + (", at least" if blind else ""))
    elif blind:
        print("nothing wrong in what could be checked; run it as root to check everything")
    else:
        print(f"nothing wrong: with a pushed key, {plain(whom)}")
    if os.geteuid() and blind and faults:
        print("run it as root to check everything")
