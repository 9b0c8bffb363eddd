"""Whether one-time keys can be enforced: PAM's line, its program, and an sshd that uses PAM."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Optional

from agent.commands.checks.finding import Finding, Host, fault, note, unknown
from agent.config.document import Problems
from agent.config.settings import Config
from agent.host.pam import check_one_time, program_faults
from agent.sshd_files import command_lines
from agent.sshd_files.directives import key_after_interactive
from agent.sshd_files.pam_file import SERVICE, SOCKET, PamLine, account_lines, line_faults

_SETUP = "/usr/lib/sixtykey/sshd-setup enable --one-time"
_BY_HAND = f"remove it from {SERVICE}, then: {_SETUP}"
_REMEDIES = {"pam-line-missing": _SETUP, "pam-line-doubled": "remove all but one of them"}


def one_time(
    config: Optional[Config], settings: Optional[Mapping[str, str]], host: Host
) -> list[Finding]:
    """Findings about one-time keys; none if they are not configured and there is no line.

    `settings` is the output of sshd -T, or None if it is unknown.
    """
    try:
        lines = list(account_lines(os.path.join(host.root, SERVICE.lstrip("/")), host.root))
    except FileNotFoundError:
        lines = []
    except (OSError, ValueError) as error:
        return [unknown("pam-unreadable", str(error))]
    wanted = config is not None and _is_wanted(config)
    found = [] if wanted or config is None else list(_fleet(config, host.root))
    is_there = any(line.runs_pam_account for line in lines)
    if not wanted and not is_there:
        return found
    found += _line(lines, SOCKET if config is None else config.lookup.socket, wanted)
    found += _program(host.root, is_there)
    if wanted:
        found += [] if settings is None else _sshd(settings)
        found += _options(host)
    return found


def _fleet(config: Config, root: str) -> Iterator[Finding]:
    """Whether the daemon refuses a fleet's keys for one login, which a gateway may send."""
    if config.fleet is None:
        return
    try:
        check_one_time(root, config.lookup.socket)
    except Problems as problems:
        words = "; ".join(text.partition(": ")[2] for text in problems.problems)
        what = f"keys for one login that a gateway sends to this host are refused: {words}"
        yield note("one-time-refused", what, f"if gateways use `uses: once`: {_SETUP}")


def _is_wanted(config: Config) -> bool:
    """Whether any push can be good for one login."""
    from agent.sources.api import credentials

    if config.keys.uses == "once":
        return True
    try:
        known = credentials.load(config.push.credentials, config.keys)
    except Problems:  # the check of the credentials reports them
        return False
    return config.push.http is not None and any(each.keys.uses == "once" for each in known)


def _line(lines: list[PamLine], socket: str, wanted: bool) -> Iterator[Finding]:
    for wrong in line_faults(lines, socket):
        # Asked twice, the daemon gives the same answer to the same login.
        harmless = not wanted or wrong.name == "pam-line-doubled"
        remedy = _REMEDIES.get(wrong.name, _BY_HAND)
        yield (note if harmless else fault)(wrong.name, wrong.what, remedy)


def _program(root: str, is_there: bool) -> Iterator[Finding]:
    for words in program_faults(root):
        if is_there:
            what = (
                "PAM refuses every login through sshd, since its line runs a wrong "
                f"program: {words}"
            )
        else:
            what = f"one-time keys cannot be enforced: {words}"
        yield fault("pam-program-wrong", what, "install the package again, or remove that line")


def _sshd(settings: Mapping[str, str]) -> Iterator[Finding]:
    if settings.get("usepam") != "yes":
        what = "one-time keys are configured, but sshd does not ask PAM: UsePAM no"
        yield fault("pam-off", what, "set UsePAM yes; then reload sshd")
    steps = key_after_interactive(settings.get("authenticationmethods", "any"))
    if steps is not None:
        what = f"AuthenticationMethods {steps}: sshd asks PAM before the key is used, and not again"
        yield fault("pam-before-key", what, "put publickey first; then reload sshd")
    service = settings.get("pamservicename", "sshd")
    if service != "sshd":
        what = f"sshd uses PAM's service {service}, but PAM's line is in {SERVICE}"
        yield fault("pam-service", what, "set PAMServiceName sshd; then reload sshd")


def _options(host: Host) -> Iterator[Finding]:
    """Options of sshd's command line, which `sshd -T` does not show."""
    lines = command_lines.known(host.root, host.sshd_config)
    for name, words in command_lines.pam_faults(lines):
        yield fault(name, words, "remove that option, then restart sshd")
