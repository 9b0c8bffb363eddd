"""The block of ssh_config(5) that makes ssh, scp, rsync, git and others use sixtykey.

Its order follows ssh's. `Match exec` runs before ssh loads the public key, so a missing key is made
there. Then the proxy pushes it, and ssh asks the agent last. When no key can be made, the block
does not match, and ssh continues without sixtykey.
"""

from __future__ import annotations

import os
import re
import sys

from agent.client import folders, known_hosts, private_agent, session_key
from agent.client.trouble import REFUSED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.client.folders import Environment

# Exclude names with ' or \, which could end the quotes around a name in a shell command.
# OpenSSH itself refuses such names since 9.6 (CVE-2023-51385).
_SAFE = "!*'*,!*\\*"
_PLAIN = re.compile(r"[A-Za-z0-9/._@+:=~-]+", re.ASCII)
INCLUDED = "sixtykey"
_INCLUDE = "Include sixtykey"
_MARK = "# sixtykey ssh-config --remove takes this line away"


def command() -> list[str]:
    """The command by which ssh runs this program: the path of the running one."""
    started = os.path.abspath(sys.argv[0])
    if os.path.basename(started) == "sixtykey" and os.access(started, os.X_OK):
        return [started]
    return [sys.executable, "-m", "agent.cli"]


def block(environ: Environment, patterns: list[str]) -> str:
    """The lines for these patterns of host names. Raises Trouble: a path needs quoting."""
    program = " ".join(_plain(word) for word in command())
    public, agent = session_key.public_file(environ), private_agent.socket_path(environ)
    public, agent = _plain(public), _plain(agent)
    known = "".join(f"  {name} {value}\n" for name, value in _known_hosts(environ).items())
    # ssh-add -L prints keys in the form of the .pub file, so grep finds ours there.
    has = f"ssh-add -L 2>/dev/null | grep -qxFf {public} 2>/dev/null"
    private = f"test -S {agent} && env SSH_AUTH_SOCK={agent} {has}"
    names = ",".join(_pattern(pattern) for pattern in patterns)
    where = f'Match originalhost "{names},{_SAFE}" user "*,{_SAFE}"'
    return f"""\
# Written by `sixtykey ssh-config`; see `sixtykey ssh-config --help`.
{where} exec "sh -c '{has} || {{ {private}; }} || {program} login --quiet'"
  ProxyCommand {program} proxy '%r' '%h' '%p'
  ProxyUseFdpass yes
  IdentityFile {public}
  IdentitiesOnly yes
{known}{where} exec "sh -c '{private}'"
  IdentityAgent {agent}
Match all
"""


def options(environ: Environment) -> list[str]:
    """The same as options of ssh(1), for a key that exists."""
    program = " ".join(_plain(word) for word in command())
    chosen = {
        "ProxyCommand": f"{program} proxy '%r' '%h' '%p'",
        "ProxyUseFdpass": "yes",
        "IdentityFile": _plain(session_key.public_file(environ)),
        "IdentitiesOnly": "yes",
        **_known_hosts(environ),
    }
    return [f"-o{name}={value}" for name, value in chosen.items()]


# Options of ssh(1) that take a value.
_VALUED = frozenset("BDEFIJLOPQRSWbceilmopw")
# Values of -o that name the user or host.
_NAMING = re.compile(r"\s*(user|hostname)[\s=]", re.IGNORECASE)


def check_names(words: Sequence[str]) -> None:
    """Raise Trouble where the host or user of ssh's words could end the quotes of ProxyCommand.

    The block of `ssh-config` does not match such a name; options hold for every name.
    """
    left, names = list(words), 0
    while left and names < 2:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            names += 1
            # Words after the host that are not options are the command, which a shell reads.
            _check_quotes(_decode(word) if names == 1 else "")
        for place, letter in enumerate(word) if word.startswith("-") else ():
            if letter in _VALUED:
                value = word[place + 1 :] or (left.pop(0) if left else "")
                named = letter == "l" or (letter == "o" and _NAMING.match(value))
                _check_quotes(value if named else "")
                break


def _decode(word: str) -> str:
    """ssh's destination as ssh reads it: ssh://[user@]host[:port] may have %XX (RFC 3986)."""
    if not word.lower().startswith("ssh://"):
        return word
    return re.sub("%([0-9A-Fa-f]{2})", lambda each: chr(int(each[1], 16)), word)


def _check_quotes(name: str) -> None:
    if not name.isprintable() or set("'\\") & set(name):
        raise Trouble(REFUSED, "Name", f"{name!r} is not a valid user or host name")


def _known_hosts(environ: Environment) -> dict[str, str]:
    """The setting KnownHostsCommand, or none for an ssh that does not know it (before 8.5).

    IgnoreUnknown would hide it from that ssh, but only the first one counts (ssh_config(5)): ours
    would disable the one in the user's configuration, and ssh would refuse that.
    """
    # ssh runs it twice for each connection, without a shell. The proxy has made the file by then.
    setting = {"KnownHostsCommand": f"/bin/cat {_plain(known_hosts.file_of(environ))}"}
    import subprocess

    quiet = subprocess.DEVNULL
    asked = ["ssh", "-F", "none", "-G", "-o", "KnownHostsCommand=none", "localhost"]
    try:
        done = subprocess.run(asked, stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    except OSError:
        return setting
    return setting if done.returncode == 0 else {}


def _plain(word: str) -> str:
    if not _PLAIN.fullmatch(word):
        raise Trouble(REFUSED, "Path", f"{word!r} has a character that ssh or a shell would read")
    return word


def _pattern(pattern: str) -> str:
    if not _PLAIN.fullmatch(pattern.replace("*", "x").replace("?", "x").replace("!", "x")):
        raise Trouble(REFUSED, "Pattern", f"{pattern!r} is not a pattern of host names")
    return pattern


def _places(environ: Environment) -> tuple[str, str]:
    """The user's configuration of ssh, and the file of ours that it includes."""
    folder = os.path.join(environ.get("HOME", ""), ".ssh")
    if not folder.startswith("/"):
        raise Trouble(REFUSED, "NoHome", "HOME is not set, so there is no ~/.ssh/config")
    return os.path.join(folder, "config"), os.path.join(folder, INCLUDED)


def install(environ: Environment, patterns: list[str]) -> tuple[str, bool]:
    """Write the block to a file, and include it in ~/.ssh/config.

    Returns the file's path, and whether the Include line is new.
    """
    config, included = _places(environ)
    text = block(environ, patterns)
    folders.make_private(os.path.dirname(config))
    folders.write(included, text)
    before = _read(config)
    if _INCLUDE in before.splitlines():
        return included, False
    # At the top: the first value wins (ssh_config(5)), and after a Host line the Include would
    # apply to that host only.
    _replace(config, f"{_MARK}\n{_INCLUDE}\n{before}")
    return included, True


def remove(environ: Environment) -> bool:
    """Remove the block and its Include line; returns whether there was anything."""
    config, included = _places(environ)
    before = _read(config)
    kept = [line for line in before.splitlines(keepends=True)
            if line.rstrip("\n") not in (_INCLUDE, _MARK)]  # fmt: skip
    changed = "".join(kept) != before
    if changed:
        _replace(config, "".join(kept))
    if os.path.exists(included):
        os.unlink(included)
        changed = True
    return changed


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Trouble(REFUSED, "SshConfig", f"{path}: {error.strerror}") from None


def _replace(path: str, text: str) -> None:
    """Replace the file atomically and keep its mode. For a link, replace the target."""
    real = os.path.realpath(path)
    mode = os.stat(real).st_mode & 0o777 if os.path.exists(real) else 0o600
    draft = f"{real}.sixtykey"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(draft, mode)
        os.rename(draft, real)
    except OSError as error:
        raise Trouble(REFUSED, "SshConfig", f"{draft}: {error.strerror}") from None
