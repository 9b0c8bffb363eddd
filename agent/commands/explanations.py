"""Explains audit records: what a decision means, and what to do."""

from __future__ import annotations

from agent.commands.terminal import duration, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Optional

    Record = Mapping[str, Any]

_CREDENTIALS = "sixtykey credentials list shows what each access key may do"
_JOURNAL = "sixtykey status shows what is wrong with the journal"
# Codes of sources' own refusals, which the API does not have.
REFUSED_BY_SOURCE = "Refused"
_ONCE = "a one-time key is good for one login: push it again for another"
# The beginning of a reason when a one-time key existed and was not given to sshd.
NOT_GIVEN = "a one-time key is not given"
# What to do about a refusal, by its code.
_HINTS = {
    "InvalidClientTokenId": "the client uses an access key that this host does not know: "
    "sixtykey credentials list",
    "OptInRequired": f"{_CREDENTIALS}, and which are disabled or expired",
    "RequestExpired": "the client's clock and this host's differ: set them by NTP (timedatectl)",
    "MissingAuthenticationToken": "the client did not sign the request: it has no access key",
    "ThrottlingException": "wait, or raise push.rate, keys.per_user or keys.total",
    "NotAuthorized": f"allow.sources: {_CREDENTIALS}",
    "ServiceException": _JOURNAL,
    "ServiceUnavailable": _JOURNAL,
    REFUSED_BY_SOURCE: "only keys that EC2 signed for this host, recently by this clock, are "
    "accepted: docs/ec2.md says what is verified",
    "InternalFailure": "a bug in sixtykeyd: journalctl -u sixtykeyd shows it; please report it",
}


# What a fleet's gateway adds to a host's decisions, and what to do about its refusals.
GATEWAY = "gateway"
_GATEWAY_HINTS = {
    "ThrottlingException": "wait, or raise the gateway's rate",
    "EC2InstanceNotFoundException": "the host is not connected to the fleet: sixtykey check, there",
    "ServiceUnavailable": "try again; if it stays: sixtykey check, on the host",
}

_PLACES = {"unix": "on this host", "ec2": "through EC2's own API"}


def describe(record: Record, host: Record) -> tuple[str, str]:
    """What happened, and what to do about it (or nothing).

    Args:
        record: an audit record. `host`: an answer with InstanceId, AvailabilityZone and Region.
    """
    if record["event"] == "push":
        return _push(record), _push_hint(record, host)
    if record["event"] == "lookup":
        return _lookup(record)
    if record["event"] == "admission":
        return _admission(record)
    by = who(record.get("principal", "?"))
    if record["outcome"] != "allowed":
        return f"{by} tried to revoke: refused, {record.get('reason')}", ""
    return f"revoked by {by}: {record.get('reason')}", ""


def _push(record: Record) -> str:
    by = who(record.get("principal") or _claimant(record))
    source = record.get("source")
    # A host shows pushers no addresses, since it shows them only their own pushes.
    place = f" {_PLACES.get(str(source), f'from {source}')}" if source else ""
    client = f" ({record['user_agent'][:60]})" if record.get("user_agent") else ""
    key = f"key {record['fingerprint']} " if record.get("fingerprint") else "a key "
    at = "at the gateway: " if record.get("at") == GATEWAY else ""
    head = f"{at}{key}pushed by {by}{place}{client}"
    upstream = f", its own id there {record['upstream_id']}" if record.get("upstream_id") else ""
    if record["outcome"] == "allowed":
        again = (
            ", the same request again: its lifetime is not extended" if record.get("replay") else ""
        )
        return f"{head}: accepted{again} (request {record.get('request_id')}{upstream})"
    code = "" if record["outcome"] == REFUSED_BY_SOURCE else f", {record['outcome']}"
    return f"{head}: refused{code}: {record.get('reason')}{upstream and f' ({upstream[2:]})'}"


def _claimant(record: Record) -> str:
    """The unverified sender that a refused request claims."""
    claimed = record.get("claimed_principal")
    return "somebody unknown" if claimed is None else f"somebody as {claimed}"


def _push_hint(record: Record, host: Record) -> str:
    code = record["outcome"]
    if record.get("at") == GATEWAY and code in _GATEWAY_HINTS:
        return _GATEWAY_HINTS[code]
    if code == "AuthException":
        # Before the signature is verified, the OS user is unknown.
        if "os_user" in record:
            return f"allow.instances: {_CREDENTIALS}"
        return (
            f"the secret access key that the client signs with is not the one that this host has "
            f"for {record.get('claimed_principal')}: sixtykey credentials add makes a new pair"
        )
    if code == "AccessDeniedException":
        return f"allow.os_users, or keys.deny_users of the configuration: {_CREDENTIALS}"
    if code == "EC2InstanceNotFoundException":
        asked = record.get("instance")
        meant = f"the client asked for {asked}; " if asked != host["InstanceId"] else ""
        return f"{meant}this host is {host['InstanceId']} in {host['AvailabilityZone']}"
    if code == "IncompleteSignature":
        return f"the client has to sign for region {host['Region']}"
    return _HINTS.get(str(code), "")


def _lookup(record: Record) -> tuple[str, str]:
    key = record.get("fingerprint")
    asked = f"sshd asked for {key}" if key else "sshd asked for all keys"
    if record["outcome"] == "given":
        return (
            f"{asked}: given (request {record.get('request_id')})",
            "if the login failed anyway, the key was not the reason: sshd's own log says more, "
            "and sixtykey check looks at the account",
        )
    reason = str(record.get("reason"))
    kind = reason.partition(" ")[0]
    if kind == "expired":
        return (
            f"{asked}, too late: that key had {reason}",
            "push it again, and log in before it expires",
        )
    if kind == "revoked":
        return f"{asked}: that key had been {reason}", "push it again"
    if kind == "used":
        return f"{asked}: that key was {reason}", _ONCE
    if reason.startswith(NOT_GIVEN):
        return f"{asked}: {reason}", "sixtykey check shows what is missing for one-time keys"
    pushed = reason.partition("the key pushed for this user was ")[2] or reason
    return (
        f"{asked}, but the key pushed for this user was {pushed}",
        "log in with the key that was pushed (ssh -i FILE -o IdentitiesOnly=yes), or push this one",
    )


def _admission(record: Record) -> tuple[str, str]:
    login = f"the login with {record.get('fingerprint')} from {record.get('source')}"
    process = f"sshd's process {record.get('process')}"
    if record["outcome"] == "admitted":
        request = f"request {record.get('request_id')}"
        return f"{login}: admitted, the one-time key is used up ({request}, {process})", ""
    hint = _ONCE if "used once" in str(record.get("reason")) else "push it again"
    return f"{login}: refused, {record.get('reason')} ({process})", hint


def describe_miss(record: Record, os_user: str) -> tuple[str, str]:
    """Describe a login without a push, and what to do."""
    key = f" for {record['fingerprint']}" if record.get("fingerprint") else ""
    what = f"sshd asked{key}, and no key had been pushed for {os_user}"
    if record.get("times", 1) > 1:
        what += f" ({record['times']} times so far)"
    others = record.get("pushed_for")
    if others:
        return (
            f"{what}; this key was pushed for {', '.join(others)}",
            f"log in as {others[0]}, or push it for {os_user}",
        )
    return what, "ordinary logins look the same; to let a key in: sixtykey push"


_WHOSE = {"ec2": "keys that EC2's own API pushes", "fleet": "keys that the fleet's gateway pushes"}


def describe_problems(sources: Mapping[str, Optional[str]]) -> list[str]:
    """A line for each source with a problem: no key comes from it."""
    known = ((_WHOSE.get(name, f"keys of {name}"), what) for name, what in sources.items())
    return [f"{whose} do not arrive: {what}" for whose, what in known if what]


def describe_unwritten(records: Sequence[Record]) -> list[str]:
    """Recent sums and drops, of any user: a line for each kind of flood."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(record.get("kind", ""), []).append(record)
    return [_unwritten(kind, alike) for kind, alike in kinds.items()]


def _unwritten(kind: str, alike: Sequence[Record]) -> str:
    count = sum(record["count"] for record in alike)
    parts = _most(record["decisions"] for record in alike)
    within = f"in the last {duration(max(record['age'] for record in alike))}"
    if not kind:
        return f"{within} {count} audit records were lost because the log was blocked: {parts}"
    groups = _most(record["groups"] for record in alike)
    return f"{within} {count} decisions of all users were only counted ({kind}): {parts}; {groups}"


def _most(counts: Iterable[Mapping[str, int]]) -> str:
    """The three largest, together."""
    together: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            together[name] = together.get(name, 0) + count
    largest = sorted(together.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{name} {count}" for name, count in largest)


def stamp(record: Record) -> str:
    """The local time of day, and how long ago."""
    import time

    then = time.localtime(time.time() - record["age"])
    times = f", {record['times']} times" if record.get("times", 1) > 1 else ""
    return f"{time.strftime('%H:%M:%S', then)}  {duration(record['age'])} ago{times}"


def limits_of(lease: dict[str, Any]) -> str:
    """A live key's limits in words; empty if it has none.

    Daemons of version 0.1.0 have no limits.
    """
    uses, source = lease.get("UsesLeft"), lease.get("PinnedSource")
    return ", ".join([
        *([] if uses is None else [f"{uses} login{'' if uses == 1 else 's'}"]),
        *([] if source is None else [f"from {source}"]),
        *lease.get("Options", []),
    ])  # fmt: skip
