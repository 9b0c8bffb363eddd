"""sixtykey push: a public key for an OS user of this host, over the local push socket."""

from __future__ import annotations

import json
import sys
import time

from agent.client.trouble import DONE, Trouble, plain
from agent.commands.client import PUSH, Daemon
from agent.commands.keyfile import fingerprint_of, read_key
from agent.commands.options import DAEMON, JSON, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.options import Options

USAGE = "sixtykey push [--json] USER [KEYFILE|-]"
HELP = """\
Pushes a public key for the OS user USER: until it expires, sshd admits its owner. KEYFILE is the
.pub file; - reads standard input. Without it, the key is read from standard input unless that is a
terminal, and otherwise from id_ed25519.pub, id_ecdsa.pub or id_rsa.pub in ~/.ssh.

Needs root, or the group of the push socket, whose members may push for every user.

example:
  sudo sixtykey push deploy ~/.ssh/id_ed25519.pub && ssh deploy@localhost"""
OPTIONS = {**JSON, **DAEMON}


def run(options: Options, words: Sequence[str]) -> int:
    """Push, and print what sshd will accept and until when."""
    if not words or len(words) > 2:
        raise Usage("give a USER, and optionally a KEYFILE or -")
    name = words[1] if len(words) > 1 else ("" if sys.stdin.isatty() else "-")
    key, where = read_key(name)
    daemon = Daemon(options)
    host = daemon.ask("Sixtykey.Identity")
    try:
        answer = daemon.ask(
            PUSH,
            {
                "InstanceId": host["InstanceId"],
                "AvailabilityZone": host["AvailabilityZone"],
                "InstanceOSUser": words[0],
                "SSHPublicKey": key,
            },
        )
    except Trouble as trouble:
        raise trouble.hinting(_hint(trouble.code, where)) from None
    end, fingerprint = time.time() + host["Lifetime"], fingerprint_of(key)
    if options.on("--json"):
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
        told = {"OSUser": words[0], "Fingerprint": fingerprint, "Until": until}
        print(json.dumps({**answer, **told, "Lifetime": host["Lifetime"]}, indent=2))
        return DONE
    print(f"pushed      {fingerprint} from {plain(where)}")
    print(f"for         {plain(words[0])} on {host['InstanceId']}")
    print(f"until       {time.strftime('%H:%M:%S', time.localtime(end))}, {host['Lifetime']} s")
    print(f"request id  {answer['RequestId']}")
    return DONE


def _hint(code: str, where: str) -> str:
    return {
        "InvalidArgsException": f"the key was read from {where}",
        "AccessDeniedException": "keys.deny_users in the configuration denies this user",
        "ThrottlingException": "push.rate, keys.per_user and keys.total are the limits; "
        "sixtykey list shows who has how many",
        "ServiceException": "sixtykey status shows what is wrong with the journal",
        "ServiceUnavailable": "sixtykey status shows what is wrong with the journal",
    }.get(code, "")
