#!/usr/bin/python3 -IS
"""Connect sshd to sixtykey, and disconnect it, without harm to what is there.

Installed as /usr/lib/sixtykey/sshd-setup and run by the packages' scripts. All that it changes is
one drop-in file of its own. It never overrides: sshd has one slot for an AuthorizedKeysCommand
(sshd_config(5): the first value counts, a Match block's before the others), and where that is
taken, in a file, a Match block or on the command line, it says so and what to do. Whatever it
writes has passed `sshd -t` before sshd is told to reload; sessions stay.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple, Optional

# Isolated (-I), Python looks for modules in no directory of ours unless it is told.
sys.path.insert(0, "/usr/lib/sixtykey")

from agent.commands.checks.slots import directives

HELPER = "/usr/lib/sixtykey/authorized-keys"
HELPER_USER = "sixtykey-lookup"
ME = "/usr/lib/sixtykey/sshd-setup"
# It sorts before the drop-ins of others, such as 20-systemd-userdb.conf and 50-redhat.conf.
DROP_IN = "10-sixtykey.conf"
MARK = "# Written by sixtykey's sshd-setup, which also removes it.\n"
# That it has been run here once: then an upgrade leaves alone what the administrator made of it.
STATE = "var/lib/sixtykey/sshd-setup"
DONE, FAILED, LEFT_ALONE = 0, 1, 3

_OPTION = re.compile(r"AuthorizedKeysCommand\s*[=\s]\s*\S", re.IGNORECASE)
# Where a distribution or an administrator puts options of sshd's command line.
_COMMAND_LINES = ["etc/default/ssh", "etc/sysconfig/sshd"] + [
    f"{place}/systemd/system/{unit}"
    for place in ("etc", "run", "usr/lib")
    for unit in ("ssh*.service", "ssh*.service.d/*.conf")
]


def _say(text: str) -> None:
    # What stands in files and command lines is shown, and must not steer the terminal.
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    sys.stderr.write(f"sixtykey: {shown}\n")


class SetupError(Exception):
    """It cannot be done; the words say why and what to do. Nothing has been changed."""


class Slot(NamedTuple):
    """One place that names an AuthorizedKeysCommand. `match` is its Match line, or empty."""

    where: str
    command: str
    match: str = ""


class Host(NamedTuple):
    """Which sshd this is about. `root` is where its options are looked for."""

    sshd: str
    config: str
    root: str = "/"

    @property
    def drop_in(self) -> str:
        """The path of our own file."""
        return os.path.join(os.path.dirname(self.config), "sshd_config.d", DROP_IN)

    def effective(self) -> dict[str, str]:
        """What `sshd -T` says, by lower-case keyword. Raises SetupError: not valid."""
        spec = "user=root,host=localhost,addr=127.0.0.1"
        done = self.run(self.sshd, "-T", "-f", self.config, "-C", spec)
        if done.returncode:
            raise SetupError(f"sshd -T does not accept the configuration:\n{done.stderr.strip()}")
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    def test(self) -> None:
        """Raise SetupError unless `sshd -t` accepts the files."""
        done = self.run(self.sshd, "-t", "-f", self.config)
        if done.returncode:
            raise SetupError(f"sshd -t does not accept the configuration:\n{done.stderr.strip()}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command and keep what it says."""
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )


def slots(host: Host) -> list[Slot]:
    """Every place that names a command: files, then command lines."""
    found = [
        Slot(where, value, match)
        for where, keyword, value, match in directives(host.config)
        if keyword == "authorizedkeyscommand"
        # `none` in a Match block takes the command away there, which is no command of another.
        and not (match and value.lower() == "none")
    ]
    return found + list(_options(host.root))


def _options(root: str) -> Iterator[Slot]:
    """Commands given by `-o`: in files that make sshd's command line, and of a running sshd."""
    for pattern in _COMMAND_LINES:
        for name in sorted(glob.glob(os.path.join(root, pattern))):
            for number, line in enumerate(_text(name).splitlines(), 1):
                if not line.lstrip().startswith("#") and _OPTION.search(line):
                    yield Slot(f"{name}:{number}", line.strip())
    for name in glob.glob(os.path.join(root, "proc/[0-9]*/cmdline")):
        # Anybody may call a process sshd; the one that listens is root's.
        if not _is_roots(name):
            continue
        line = _text(name).replace("\0", " ").strip()
        if re.match(r"(sshd: )?\S*sshd\b", line) and _OPTION.search(line):
            yield Slot(f"the running sshd (process {name.split(os.sep)[-2]})", line)


def _is_roots(path: str) -> bool:
    try:
        return os.stat(path).st_uid == 0
    except OSError:
        return False


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def lines_for(command: str, user: str) -> str:
    """Our two lines of sshd_config."""
    return f"AuthorizedKeysCommand {command}\nAuthorizedKeysCommandUser {user}\n"


def chained(existing: Slot, user: str) -> str:
    """The lines that run our helper and the existing command. Raises SetupError: impossible."""
    try:
        path, *arguments = shlex.split(existing.command)
    except ValueError:
        raise SetupError(f"{existing.where}: cannot be read: {existing.command}") from None
    if os.path.basename(path) == "userdbctl":
        # It takes no fingerprint, has a --chain of its own, and needs to stay root.
        words = [a for a in arguments if a != "%u"]
        if words != ["ssh-authorized-keys"]:
            raise SetupError(f"{existing.where}: chains already: {existing.command}")
        return lines_for(f"{path} ssh-authorized-keys %u --chain {HELPER} %u %f", user)
    tokens = " %u"
    if arguments[-2:] == ["%u", "%f"]:
        arguments, tokens = arguments[:-2], " %u %f"
    elif arguments[-1:] == ["%u"]:
        arguments = arguments[:-1]
    command = " ".join([path, *arguments])
    if "%" in command or '"' in command or any(" " in word for word in (path, *arguments)):
        raise SetupError(
            f"{existing.where}: cannot be chained, for its arguments are not just %u, or %u %f, at "
            f"the end: {existing.command}\nPut both commands into a script of your own."
        )
    return lines_for(f'{HELPER} --chain "{command}"{tokens}', user)


def enable(host: Host, chain: bool) -> int:
    """Write the drop-in, if the slot is free or `chain` is asked for. Returns an exit code."""
    host.test()
    before = host.effective()
    found = slots(host)
    if any(HELPER in slot.command for slot in found):
        _say(f"sshd runs {HELPER} already")
        return DONE
    content = lines_for(f"{HELPER} %u %f", HELPER_USER)
    if found and not chain:
        _say(REPORT % _listed(found))
        return LEFT_ALONE
    if found:
        if found[0].command.lower() == "none":
            raise SetupError(f"it is told to have no command at all:\n{_listed(found)}")
        if len(found) > 1 or found[0].match or "-o" in found[0].command:
            raise SetupError("only one command, for all users, can be chained:\n" + _listed(found))
        user = before.get("authorizedkeyscommanduser", "root")
        content = chained(found[0], user)
        if user not in {"root", HELPER_USER}:
            host.run("usermod", "-a", "-G", HELPER_USER, user)
    _install(host, content)
    reload(host)
    _say(f"sshd asks it for keys ({host.drop_in})")
    return DONE


def _install(host: Host, content: str) -> None:
    """Write the drop-in; take it back, and raise, if sshd does not take it as it is meant."""
    before, problem = _text(host.drop_in), None
    if os.path.exists(host.drop_in) and not before.startswith(MARK):
        raise SetupError(f"{host.drop_in} is somebody else's: give it another name first")
    if os.path.isdir(os.path.dirname(host.drop_in)):
        draft = f"{host.drop_in}.new"
        with open(draft, "w", encoding="utf-8") as file:
            file.write(MARK + content)
        os.chmod(draft, 0o644)
        os.replace(draft, host.drop_in)
        try:
            host.test()
            effective = host.effective()
            wanted = (line.partition(" ") for line in content.splitlines())
            if all(effective.get(word.lower()) == value for word, _, value in wanted):
                return
        except SetupError as error:
            problem = error
        os.unlink(host.drop_in)
        if before:
            with open(host.drop_in, "w", encoding="utf-8") as file:
                file.write(before)
    raise problem or SetupError(
        f"{host.config} does not include {host.drop_in}, or sets the command or its user before "
        "it does.\nAdd these lines at its top yourself, then `sshd -t` and reload sshd:\n\n"
        + content
    )


def _listed(found: list[Slot]) -> str:
    return "".join(
        f"  {where}: {command}  {match}".rstrip() + "\n" for where, command, match in found
    )


REPORT = f"""\
sshd has an AuthorizedKeysCommand already, and it was left as it is:
%sNo key that is pushed will be accepted until sshd runs both. Either let this be done:
  {ME} enable --chain
or write it yourself, at the place above:
  AuthorizedKeysCommand {HELPER} --chain "COMMAND" %%u %%f
(for userdbctl: userdbctl ssh-authorized-keys %%u --chain {HELPER} %%u %%f).
What it runs as must be root, {HELPER_USER} or a member of the group {HELPER_USER}."""


def disable(host: Host) -> int:
    """Remove the drop-in, if it is ours. Returns an exit code."""
    if _text(host.drop_in).startswith(MARK):
        os.unlink(host.drop_in)
        host.test()
        reload(host)
        _say("sshd no longer asks it for keys")
    left = [slot for slot in slots(host) if HELPER in slot.command]
    if left:
        _say(f"remove this too, or sshd logs an error at every login:\n{_listed(left)}")
    return LEFT_ALONE if left else DONE


def reload(host: Host) -> None:
    """Have a running sshd read its files again; established sessions are processes of their own."""
    booted = host.root == "/" and os.path.isdir("/run/systemd/system")
    for unit in ("ssh.service", "sshd.service"):
        if booted and host.run("systemctl", "is-active", "--quiet", unit).returncode == 0:
            host.run("systemctl", "reload", unit)
            return


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one action. Exit code: 0 done, 1 not possible, 3 left alone and told what to do."""
    parser = argparse.ArgumentParser(prog="sshd-setup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=["enable", "disable", "package-installed"])
    parser.add_argument("--chain", action="store_true", help="run the existing command after ours")
    parser.add_argument("--sshd", default=shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin"))
    parser.add_argument("--config", default="/etc/ssh/sshd_config")
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.sshd is None or not os.path.exists(options.config):
        _say(f"no sshd on this host; once there is one, run {ME} enable")
        return DONE
    host = Host(options.sshd, options.config, options.root)
    state = os.path.join(host.root, STATE)
    if options.action == "package-installed" and os.path.exists(state):
        return DONE
    # sshd -t and -T want their directory, which is not there before sshd has been started once.
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    try:
        return _act(host, options.action, options.chain, state)
    except (SetupError, OSError) as error:
        _say(f"sshd is left as it is: {error}")
        return FAILED


def _act(host: Host, action: str, chain: bool, state: str) -> int:
    if action == "disable":
        code = disable(host)
        shutil.rmtree(os.path.dirname(state), ignore_errors=True)
        return code
    os.makedirs(os.path.dirname(state), mode=0o755, exist_ok=True)
    with open(state, "w", encoding="utf-8") as file:
        file.write("sshd-setup has been run on this host\n")
    return enable(host, chain)


if __name__ == "__main__":
    sys.exit(main())
