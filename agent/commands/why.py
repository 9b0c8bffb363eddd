"""sixtykey why: the recent decisions about a user, newest first, in words."""

from __future__ import annotations

import json

from agent.client.trouble import DONE, REFUSED, plain
from agent.commands import explanations
from agent.commands.client import Daemon
from agent.commands.keyfile import named_fingerprint
from agent.commands.options import DAEMON, JSON, Usage
from agent.commands.terminal import duration, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

    from agent.commands.checks.finding import Finding
    from agent.commands.options import Options

USAGE = "sixtykey why [--json] USER[@HOST] [FINGERPRINT|KEYFILE]"
HELP = """\
"The push succeeded, the login was denied": explains the recent decisions about USER, newest first,
and what to do; with FINGERPRINT, only those about that key. It also checks whether this host knows
the user, and whether sshd admits the account. The daemon keeps the latest decisions in memory; the
audit log has more.

With @HOST the host is asked over the network, as `sixtykey proxy` would, also through a fleet's
gateway: it explains to those who may push there what happened to their own pushes. The gateway adds
those that it has refused itself.

Exit code 1 means that nothing is known.

example:
  sudo sixtykey why deploy"""
OPTIONS = {**JSON, **DAEMON}


def run(options: Options, words: Sequence[str]) -> int:
    """Print what is known."""
    if not words or len(words) > 2:
        raise Usage("give a USER, and optionally a FINGERPRINT")
    user, at, host = words[0].rpartition("@")
    if at:
        if len(words) > 1 or not user or not host:
            raise Usage("with USER@HOST, give no other word")
        from agent.commands import why_host

        return why_host.run(options, user, host)
    user = words[0]
    fingerprint = named_fingerprint(words[1]) if len(words) > 1 else None
    answer = Daemon(options).ask("Sixtykey.Why", {"OSUser": user})
    answer["Decisions"] = [r for r in answer["Decisions"] if _concerns(r, fingerprint)]
    findings = _account(user)
    known = bool(answer["Decisions"] or answer["Leases"] or answer["Asked"])
    if options.on("--json"):
        for record in answer["Decisions"]:
            record["words"], record["hint"] = explanations.describe(record, answer)
        print(json.dumps({**answer, "Findings": [f.as_dict() for f in findings]}, indent=2))
    else:
        _print(user, answer, findings)
    return DONE if known or findings else REFUSED


def _concerns(record: dict[str, Any], fingerprint: Optional[str]) -> bool:
    """Whether it is, or may be, about that key: an unparsed request may have had any key."""
    named = record.get("fingerprint")
    return fingerprint in {None, named} or named is None or str(fingerprint) in str(record)


def _account(user: str) -> list[Finding]:
    """Findings about the account on the host, which the daemon does not know."""
    from agent.commands.checks.account import account

    return [finding for finding in account(user) if finding.severity == "fault"]


def _print(user: str, answer: dict[str, Any], findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"! {plain(finding.what)}\n    -> {plain(finding.remedy)}")
    for lease in answer["Leases"]:
        only = explanations.limits_of(lease)
        print(
            f"live now: {lease['Fingerprint']} ({lease['Type']}), "
            f"pushed by {who(lease['Principal'])}, {lease['SecondsLeft']:.0f} s left"
            f"{only and f', only for: {only}'}"
        )
    asked, decisions = answer["Asked"], answer["Decisions"]
    told = [(record, explanations.describe(record, answer)) for record in decisions]
    if asked is not None:
        told.append((asked, explanations.describe_miss(asked, user)))
        told.sort(key=lambda each: float(each[0]["age"]))
    if not told:
        since = duration(answer["Uptime"])
        print(f"no push for {plain(user)} and no lookup by sshd, as far as the daemon remembers,")
        print(f"which has run for {since}; the audit log may have more")
    if not_asked := _describe_silent_sshd(user, answer):
        print(f"! {plain(not_asked)}")
    for line in (
        *explanations.describe_problems(answer["Problems"]),
        *explanations.describe_unwritten(answer["Unwritten"]),
    ):
        print(f"! {plain(line)}")
    hinted: set[str] = set()
    for record, (what, hint) in told:
        print(f"{explanations.stamp(record)}: {plain(what)}")
        # Print each advice once, at the newest record, and none that a later success made obsolete.
        if hint and hint not in hinted and not _is_obsolete(record, decisions):
            print(f"    -> {plain(hint)}")
        hinted.add(hint)


def _is_obsolete(record: dict[str, Any], decisions: Sequence[dict[str, Any]]) -> bool:
    """Whether later records make advice about this one obsolete.

    A client offers several keys and retries: a failure before a success explains nothing, and a
    success explains nothing after a later refusal or revocation.
    """
    later = [r for r in decisions if r["age"] < record["age"]]
    if record.get("outcome") == "given":
        return any(r["event"] in {"lookup", "revoke", "admission"} for r in later)
    return any(r["outcome"] == "given" for r in later)


def _describe_silent_sshd(user: str, answer: dict[str, Any]) -> str:
    """A line that sshd has not asked since the last push, if so: then the client is to blame."""
    pushes = [
        r["age"] for r in answer["Decisions"] if (r["event"], r["outcome"]) == ("push", "allowed")
    ]
    lookups = [r["age"] for r in answer["Decisions"] if r["event"] == "lookup"]
    if not pushes or (lookups and min(lookups) <= min(pushes)):
        return ""
    return (
        "sshd has not asked for a key of this user since then: nobody has tried to log in, or sshd "
        f"does not ask sixtykey: sixtykey check {user}"
    )
