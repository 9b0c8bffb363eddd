"""The command line of /usr/lib/sixtykey/sshd-setup: connect sshd to sixtykey, and disconnect it.

It overrides nothing without consent. sshd has one slot for an AuthorizedKeysCommand
(sshd_config(5): the first value counts, and a Match block's wins). When the slot is taken, in a
file, a Match block or on the command line, it says so, and what --chain and --replace would do. It
verifies its changes with `sshd -t` before sshd reloads. Sessions stay open.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import Optional

from agent.sshd_setup import carry_out, one_time, plan
from agent.sshd_setup.lines import HELPER
from agent.sshd_setup.lock import only_one
from agent.sshd_setup.plan import PROGRAM, LeftAlone
from agent.sshd_setup.slots import describe, slots
from agent.sshd_setup.sshd import NotReloaded, SetupError, Sshd

DONE, FAILED, LEFT_ALONE = 0, 1, 3
# Marks that it has run here. After that, an upgrade does not change the configuration.
_STATE = "var/lib/sixtykey/sshd-setup"
_REMOVING = {"disable", "package-removed"}
_PATHS = "/usr/sbin:/sbin:/usr/bin"


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one action. Exit codes: 0 done, 1 failed, 3 left alone, with advice what to do."""
    options = _parser().parse_args(arguments)
    has_sshd = options.sshd is not None and os.path.exists(options.config)
    sshd = Sshd(options.sshd or "sshd", options.config, options.root)
    try:
        with only_one(sshd.root):
            return _act(sshd, options) if has_sshd else _act_without_sshd(sshd, options.action)
    except LeftAlone as reason:
        _say(str(reason))
        return LEFT_ALONE
    except NotReloaded as reason:
        _say(str(reason))
    except (SetupError, OSError) as error:
        _say(f"sshd is not changed: {error}")
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sshd-setup", description="Connect sshd to sixtykey, and disconnect it."
    )
    parser.add_argument(
        "action", choices=["enable", "disable", "package-installed", "package-removed"]
    )
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--chain", action="store_true", help="run the existing command after ours")
    others.add_argument(
        "--replace",
        action="store_true",
        help="run ours in place of the existing command; disable restores that one",
    )
    parser.add_argument(
        "--one-time",
        action="store_true",
        help="also PAM's line for one-time keys; with disable: only that line",
    )
    parser.add_argument("--sshd", default=shutil.which("sshd", path=_PATHS))
    parser.add_argument("--config", default="/etc/ssh/sshd_config")
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)
    return parser


def _act_without_sshd(sshd: Sshd, action: str) -> int:
    _say(f"there is no sshd on this host; once there is one, run {PROGRAM} enable")
    # An sshd installed later must not find PAM's line without the program that it runs.
    return _remove_from_pam(sshd) if action in _REMOVING else DONE


def _act(sshd: Sshd, options: argparse.Namespace) -> int:
    # sshd -t and -T need this directory, which is missing before sshd's first start.
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    state = os.path.join(sshd.root, _STATE)
    if options.action == "package-installed" and os.path.exists(state):
        return DONE
    if options.action == "package-removed":
        shutil.rmtree(os.path.dirname(state), ignore_errors=True)
        return disable(sshd)
    _mark_as_run(state)
    if options.action == "disable":
        return disable_one_time(sshd) if options.one_time else disable(sshd)
    # A package's script must not edit another package's file (Debian's policy, 10.7.4).
    by_hand = options.action == "enable"
    consent = plan.Consent(main_file=by_hand, chain=options.chain, replace=options.replace)
    return enable(sshd, consent, options.one_time)


def enable(sshd: Sshd, consent: plan.Consent, with_pam: bool = False) -> int:
    """Make sshd, and on request PAM, use our programs. Returns an exit code.

    Raises SetupError, NotReloaded, LeftAlone, OSError.
    """
    sshd.test()
    planned = plan.plan_enable(sshd, consent)
    if not with_pam:
        carry_out.enable(sshd, planned)
        _say(planned.message)
        return DONE
    pam = one_time.plan_enable(sshd)
    with one_time.apply(pam):
        carry_out.enable(sshd, planned)
    _say(f"{planned.message}\n{pam.message}")
    return DONE


def disable(sshd: Sshd) -> int:
    """Disconnect sshd and PAM. Returns an exit code. Raises SetupError, NotReloaded, OSError."""
    # PAM first: if the package is removed and PAM's line is not, nobody can log in.
    done = _remove_from_pam(sshd)
    planned = plan.plan_disable(sshd)
    carry_out.disable(sshd, planned)
    if planned.message:
        _say(planned.message)
    left = [slot for slot in slots(sshd) if HELPER in slot.command]
    if left:
        _say(f"remove this too, or sshd logs an error at every login:\n{describe(left)}")
    return LEFT_ALONE if left else done


def disable_one_time(sshd: Sshd) -> int:
    """Disconnect PAM, and restart the daemon, which then refuses to serve one-time keys."""
    done = _remove_from_pam(sshd)
    try:
        sshd.restart_daemon()
    except SetupError as error:
        _say(str(error))
        return FAILED
    return done


def _remove_from_pam(sshd: Sshd) -> int:
    planned = one_time.plan_disable(sshd.root)
    with one_time.apply(planned):
        pass
    if planned.changes:
        _say(planned.message)
    left = one_time.find_other_lines(sshd.root)
    if left:
        _say(f"remove this too, or without the package nobody can log in: {', '.join(left)}")
    return LEFT_ALONE if left else DONE


def _mark_as_run(state: str) -> None:
    os.makedirs(os.path.dirname(state), mode=0o755, exist_ok=True)
    with open(state, "w", encoding="utf-8") as file:
        file.write("sshd-setup has been run on this host\n")


def _say(text: str) -> None:
    # The text quotes files and command lines, which must not control the terminal.
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    sys.stderr.write(f"sixtykey: {shown}\n")
