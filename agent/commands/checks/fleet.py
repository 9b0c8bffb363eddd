"""Checks a member of a fleet: its connector, its membership, and its gateways and their clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

from agent.commands.checks.finding import Finding, fact, fault, note, unknown
from agent.commands.terminal import duration
from agent.config.fleet_limits import FLEET
from agent.config.settings import Config, Fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.fleet.messages.certificates import HostCertificate

_RENEW = "sudo sixtykey fleet renew --restart; past errors: journalctl -u sixtykeyd-fleet-renew"
_REJOIN = "sudo sixtykey fleet leave, then join with a new token of the fleet's home"
_TIMER = "sudo systemctl enable --now sixtykeyd-fleet-renew.timer; " + _RENEW


def membership(
    config: Config, status: Optional[dict[str, Any]], wall: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """Findings about the fleet that the configuration names; none without a fleet.

    Args:
        status: the daemon's, None when it does not answer.
        wall: this host's wall clock (s).
    """
    if config.fleet is None:
        return
    if status is not None:
        yield from _connector(status)
    certificate = None
    for found in _files(config.fleet):
        if isinstance(found, Finding):
            yield found
        else:
            certificate = found
    if certificate is not None:
        yield from _validity(certificate, wall())
        if status is not None and certificate.host != status["InstanceId"]:
            yield fault(
                "fleet-other-host",
                f"the membership belongs to {certificate.host}, but this host is "
                f"{status['InstanceId']}: is this a copy of another machine's disk?",
                _REJOIN,
            )
    yield from _gateways(config.fleet, wall)


def _connector(status: dict[str, Any]) -> Iterator[Finding]:
    source = status.get("Sources", {}).get("fleet")
    if source is None:
        what = "the daemon was started before this host joined its fleet"
        yield fault("fleet-not-loaded", what, "sudo systemctl restart sixtykeyd")
    elif source["Problem"]:
        yield fault(
            "fleet-not-connected",
            f"pushes through the fleet do not reach this host: {source['Problem']}",
            "sudo systemctl enable --now sixtykeyd-fleet; journalctl -u sixtykeyd-fleet says why",
        )


def _files(fleet: Fleet) -> Iterator[Any]:
    """Findings about the membership's files, and the certificate if it is a good one."""
    from agent.fleet.bus import jwt
    from agent.fleet.messages.certificates import HostCertificate
    from agent.fleet.messages.documents import Rejected
    from agent.fleet.messages.signing import PrivateKey, PublicKey
    from agent.host import files

    certificate = None
    issuers = set(map(PublicKey.parse, fleet.issuers))
    try:
        sealed = files.read(fleet.certificate, FLEET.document_bytes).strip().encode("ascii")
        certificate = HostCertificate.open(sealed, issuers)
        yield certificate
    except Rejected as error:
        what = f"{fleet.certificate}: it is not signed by a configured issuer: {error}"
        yield fault("fleet-certificate", what, f"{_RENEW}; if that fails: {_REJOIN}")
    except (OSError, ValueError) as error:
        yield _unreadable(fleet.certificate, error)
    try:
        key = PrivateKey.parse(files.read(fleet.key, FLEET.file_bytes)).public
        pair = jwt.read_creds(files.read(fleet.identity, FLEET.file_bytes))[1]
    except (OSError, ValueError) as error:
        yield _unreadable(f"{fleet.key} or {fleet.identity}", error)
        return
    if certificate is not None and (key, pair.public) != (certificate.key, certificate.nkey):
        what = f"{fleet.certificate} is for other keys than {fleet.key} and {fleet.identity}"
        yield fault("fleet-certificate", what, _REJOIN)


def _unreadable(path: str, error: Exception) -> Finding:
    if isinstance(error, PermissionError):
        return unknown("fleet-unreadable", f"you may not read {path}")
    why = error.strerror if isinstance(error, OSError) else error
    return fault("fleet-files", f"{path}: {why}", _REJOIN)


def _validity(certificate: HostCertificate, now: float) -> Iterator[Finding]:
    left = certificate.ends_at / 1000 - now
    tags = ", ".join(f"{name}={value}" for name, value in sorted(certificate.tags.items()))
    if left <= -FLEET.grace_seconds:
        what = f"the membership ended {duration(-left)} ago: too long to be renewed"
        yield fault("fleet-membership-ended", what, _REJOIN)
    elif left <= 0:
        what = f"the membership ended {duration(-left)} ago: no gateway accepts this host's answers"
        yield fault("fleet-membership-ended", what, _TIMER)
    elif left < FLEET.membership_seconds / 2:
        # It is renewed each day, so several renewals have failed or did not happen.
        what = f"the membership ends in {duration(left)}: the daily renewal has failed"
        yield note("fleet-membership-ends-soon", what, _TIMER)
    else:
        name = f"{certificate.name}{tags and f' ({tags})'}"
        yield fact("fleet", f"member of a fleet as {name}; renewed in time, for {duration(left)}")


def _gateways(fleet: Fleet, wall: Callable[[], float]) -> Iterator[Finding]:
    """Whether a gateway can be reached, and its clock agrees; leases and renewals depend on it."""
    from agent.fleet.host import joining
    from agent.host import files

    try:
        ca = files.read(fleet.ca, FLEET.file_bytes)
    except (OSError, ValueError) as error:
        yield _unreadable(fleet.ca, error)
        return
    failures = []
    for url in fleet.gateways:
        try:
            before = wall()
            told = joining.ask_time(url, ca)
            ahead = (before + wall()) / 2 - told
        except joining.NoGateway as error:
            failures.append(str(error))
            continue
        if abs(ahead) > FLEET.clocks_apart_seconds:
            side = "ahead of" if ahead > 0 else "behind"
            yield fault(
                "fleet-clock",
                f"this host's clock is {abs(ahead):.0f} s {side} that of {url}: more than "
                f"{FLEET.clocks_apart_seconds:.0f} s, and pushes are refused",
                "synchronize both with NTP: timedatectl set-ntp true, or install chrony",
            )
        break
    else:
        words = "; ".join(failures) or "none is configured"
        what = f"no gateway can be reached, so the membership cannot be renewed: {words}"
        yield note("fleet-gateways", what, "check fleet.gateways in the configuration")
