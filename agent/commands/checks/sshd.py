"""Checks sshd's effective configuration for a login, and which command has its one slot."""

from __future__ import annotations

import fnmatch
import glob
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Optional

from agent.commands.checks.finding import Finding, Host, fault, note, unknown
from agent.commands.checks.helper import INSTALLED, helper, is_ours, running
from agent.config.settings import Config
from agent.sshd_files import command_lines
from agent.sshd_files.directives import Directive, directives, expand_include
from agent.sshd_setup.slots import slots
from agent.sshd_setup.sshd import Sshd

_PATHS = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin"
_SETUP = "/usr/lib/sixtykey/sshd-setup enable"
_CANNOT_READ = ("hostkeys", "Permission denied", "privilege separation")

Effective = Mapping[str, str]


def effective(host: Host, user: str, source: str) -> tuple[Optional[dict[str, str]], list[Finding]]:
    """The output of sshd -T for a login of `user` from the address `source`, by lower-case keyword.

    Values of repeated keywords, such as AllowUsers, are joined by a space.
    """
    sshd = host.sshd or shutil.which("sshd", path=_PATHS)
    if sshd is None:
        return None, [
            fault("sshd-missing", "there is no sshd on this host", "install openssh-server")
        ]
    spec = f"user={user},host={source},addr={source},laddr={source},lport=22"
    done = subprocess.run(
        [sshd, "-T", "-f", host.sshd_config, "-C", spec],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        return None, [_explain_refusal(done.stderr.strip(), host)]
    settings: dict[str, str] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        settings[keyword] = f"{settings[keyword]} {value}" if keyword in settings else value
    return settings, []


def uses_pam(settings: Effective, host: Host) -> bool:
    """Whether sshd uses PAM: by its files, and by its command line, which overrides them."""
    lines = command_lines.known(host.root, host.sshd_config)
    off = any(name == "pam-off" for name, _ in command_lines.pam_faults(lines))
    return settings.get("usepam", "yes") == "yes" and not off


def _explain_refusal(words: str, host: Host) -> Finding:
    if any(reason in words for reason in _CANNOT_READ) and os.geteuid():
        return unknown("sshd-config", f"sshd -T: {words}")
    if "privilege separation" in words:
        remedy = "systemctl start ssh (or sshd), and check again"
        return unknown("sshd-config", f"sshd has not been started since boot: {words}", remedy)
    remedy = "sshd -t shows it too: fix it before sshd is restarted, or nobody can log in"
    what = f"sshd does not accept {host.sshd_config}: {words}"
    return fault("sshd-config-wrong", what, remedy)


def logins(settings: Effective, config: Optional[Config], host: Host) -> list[Finding]:
    """Check whether sshd asks our helper, and accepts the keys that it prints."""
    found = []
    if settings.get("pubkeyauthentication") == "no":
        where = _where(host, "pubkeyauthentication")
        what = f"sshd accepts no public keys for this login: PubkeyAuthentication no{where}"
        found.append(fault("pubkey-off", what, "set PubkeyAuthentication yes; then reload sshd"))
    command = settings.get("authorizedkeyscommand", "none")
    found += _by_option(host)
    if not is_ours(command):
        found += _explain_not_asked(command, host)
    else:
        found += helper(command, settings.get("authorizedkeyscommanduser", ""), config)
        found += running(command)
    return found + list(_algorithms(settings, config)) + list(_methods(settings))


def _by_option(host: Host) -> list[Finding]:
    """Commands by `-o`, which override every file and which sshd -T does not show."""
    here = Sshd("sshd", host.sshd_config, host.root)
    given = [slot for slot in slots(here) if slot.is_option and not slot.is_running]
    return [
        fault("slot-taken", f"sshd is given another command: {slot.command} ({slot.where})",
              f"to run both: {_SETUP} --chain; or only ours: {_SETUP} --replace")
        for slot in given
    ]  # fmt: skip


def _explain_not_asked(command: str, host: Host) -> list[Finding]:
    slots = [d for d in directives(host.sshd_config) if d.keyword == "authorizedkeyscommand"]
    if command != "none":
        # The last matching one: a Match block's value overrides the others.
        held = [d for d in slots if d.value.replace('"', "") == command.replace('"', "")]
        where = _place(held[-1]) if held else "sshd's command line, or where you may not read"
        what = f"sshd runs another command for this login, and has one slot: {command} ({where})"
        remedy = (
            f"to run both: {_SETUP} --chain; or only ours: {_SETUP} --replace; in a Match block, "
            f"add {INSTALLED} there"
        )
        return [fault("slot-taken", what, remedy)]
    drop_ins = _drop_ins(host)
    if drop_ins and not _includes(host, drop_ins):
        what = f"{host.sshd_config} does not include {drop_ins[0]}: sshd never reads it"
        remedy = (
            f"add at its top: Include {os.path.dirname(drop_ins[0])}/*.conf; then reload sshd. Or "
            f"have our lines there: rm {drop_ins[0]}; {_SETUP}"
        )
        return [fault("include-missing", what, remedy)]
    emptied = [d for d in slots if d.match and d.value.lower() == "none"]
    if emptied:
        what = f"a Match block disables the command for this login: {_place(emptied[-1])}"
        return [fault("slot-emptied", what, "remove that line, or name the helper in it")]
    what = "there is no AuthorizedKeysCommand for this login"
    lines = f"AuthorizedKeysCommand {INSTALLED} %u %f; AuthorizedKeysCommandUser sixtykey-lookup"
    return [fault("sshd-not-asking", what, f"{_SETUP}; or by hand: {lines}")]


def _drop_ins(host: Host) -> list[str]:
    folder = os.path.join(os.path.dirname(host.sshd_config), "sshd_config.d")
    return [
        name
        for name in sorted(glob.glob(f"{folder}/*.conf"))
        if any(d.keyword == "authorizedkeyscommand" and is_ours(d.value) for d in directives(name))
    ]


def _includes(host: Host, names: list[str]) -> bool:
    lines = (d for d in directives(host.sshd_config) if d.keyword == "include")
    return any(set(names) & set(expand_include(line.value)) for line in lines)


def _place(directive: Directive) -> str:
    return f"{directive.where}{', ' + directive.match if directive.match else ''}"


def _where(host: Host, keyword: str) -> str:
    places = [_place(d) for d in directives(host.sshd_config) if d.keyword == keyword]
    return f" ({'; '.join(places)})" if places else ""


def _algorithms(settings: Effective, config: Optional[Config]) -> Iterator[Finding]:
    # Before OpenSSH 8.5 the setting had another name.
    names = ("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes")
    accepted = next((settings[n].split(",") for n in names if n in settings), None)
    if accepted is None or config is None:
        return
    # An ssh-rsa key signs with SHA-2 today (RFC 8332).
    signs = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}
    refused = [t for t in config.keys.types if not set(signs.get(t, (t,))) & set(accepted)]
    if refused:
        what = f"keys of type {', '.join(refused)} may be pushed, but sshd accepts none of them"
        remedy = "add them to PubkeyAcceptedAlgorithms, or remove them from keys.types"
        whole = len(refused) == len(config.keys.types)
        yield (fault if whole else note)("key-types-refused", what, remedy)


def _methods(settings: Effective) -> Iterator[Finding]:
    methods = settings.get("authenticationmethods", "any").split()
    if "any" not in methods and "publickey" not in methods:
        what = f"a key alone is not enough to log in: AuthenticationMethods {' '.join(methods)}"
        remedy = "if that is not intended: AuthenticationMethods any, or publickey"
        wanted = any("publickey" in m.split(",") for m in methods)
        yield (note if wanted else fault)("key-not-enough", what, remedy)


def check_admission(settings: Effective, user: str) -> list[Finding]:
    """Whether sshd lets this user try at all: AllowUsers and the like, PermitRootLogin."""
    found = []
    denied, allowed = settings.get("denyusers", ""), settings.get("allowusers", "")
    groups = _groups(user)
    out_of = [
        ("DenyUsers", denied, bool(denied) and _matches_any([user], denied)),
        ("AllowUsers", allowed, bool(allowed) and not _matches_any([user], allowed)),
    ]
    for name, negative in (("DenyGroups", True), ("AllowGroups", False)):
        patterns = settings.get(name.lower(), "")
        out_of.append(
            (name, patterns, bool(patterns) and _matches_any(groups, patterns) == negative)
        )
    for name, patterns, out in out_of:
        if out:
            what = f"sshd does not admit {user}: {name} {patterns}"
            found.append(fault("user-not-admitted", what, f"change {name}; then reload sshd"))
    if user == "root" and settings.get("permitrootlogin") in {"no", "forced-commands-only"}:
        what = f"sshd does not admit root: PermitRootLogin {settings['permitrootlogin']}"
        remedy = (
            "log in as another user, or set PermitRootLogin prohibit-password; then reload sshd"
        )
        found.append(fault("user-not-admitted", what, remedy))
    return found


def _groups(user: str) -> list[str]:
    try:
        ids = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return []
    return [entry.gr_name for entry in grp.getgrall() if entry.gr_gid in ids]


def _matches_any(names: list[str], patterns: str) -> bool:
    """Whether one of the names matches; the host of USER@HOST is ignored."""
    return any(
        fnmatch.fnmatchcase(name, pattern.partition("@")[0])
        for pattern in patterns.split()
        for name in names
    )
