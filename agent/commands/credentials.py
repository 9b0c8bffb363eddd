"""sixtykey credentials: makes, lists and removes access keys for pushes over the network."""

from __future__ import annotations

import json
import os
import sys
import time

from agent.client.trouble import AWAY, DONE, FORBIDDEN, REFUSED, Trouble, plain
from agent.commands.client import Daemon
from agent.commands.options import DAEMON, JSON, Usage, one_word, refuse_more
from agent.commands.settings import DEFAULT_PATH, load, third_party
from agent.commands.terminal import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from agent.commands.options import Options
    from agent.config.settings import Config
    from agent.sources.api.credentials import Credential

USAGE = """\
sixtykey credentials add --user PATTERN... [--instance ID...] [--source NETWORK...]
       sixtykey credentials add --gateway --user PATTERN... [--tag NAME=PATTERN...]
       sixtykey credentials list [--gateway]
       sixtykey credentials remove ACCESS_KEY_ID"""
HELP = """\
Manages the access keys in push.credentials. add generates one at random, writes it into the file,
reloads the daemon, and prints the key once, as a profile for ~/.aws/config. It may push for the OS
users that match the patterns. list shows what each key may do, and never a secret. remove removes a
key, which stops working at once. Comments in the file are kept.

At a fleet's gateway, --gateway uses the gateway's file; there --tag NAME=PATTERN limits a key to
instances whose join token gave them such a tag.

Needs root. Access keys are valid on the network listener only (push.http of the configuration).

example:
  sudo sixtykey credentials add --user deploy --source 10.0.0.0/8"""
OPTIONS = {
    "--user": ("PATTERN...", "add: OS users it may push for, such as deploy or 'web-*'"),
    "--instance": ("ID...", "add: instances it may push to (default: all)"),
    "--tag": ("NAME=PATTERN...", "add, with --gateway: tags that the instances must have"),
    "--gateway": ("", "use the keys of a fleet's gateway on this machine"),
    "--source": ("NETWORK...", "add: where it may be used from (default: anywhere)"),
    "--expires": ("TIME", "add: when it expires, such as 2027-01-01T00:00:00Z"),
    "--endpoint": ("URL", "add: the URL for clients (default: from the configuration)"),
    "--profile": ("NAME", "add: the name of the printed profile (default: sixtykey)"),
    **JSON,
    **DAEMON,
}
_ADD_ONLY = ("--user", "--instance", "--tag", "--source", "--expires", "--endpoint", "--profile")


def run(options: Options, words: Sequence[str]) -> int:
    """Do what the first word says."""
    actions = {"add": _add, "list": _list, "remove": _remove}
    if not words or words[0] not in actions:
        raise Usage("say add, list or remove")
    if words[0] != "add" and any(options.on(name) for name in _ADD_ONLY):
        raise Usage(f"{', '.join(_ADD_ONLY)} go with add")
    if options.on("--tag") and not options.on("--gateway"):
        raise Usage("only a fleet's gateway has tags: --tag needs --gateway")
    if options.on("--gateway"):
        third_party()
        from agent.commands import gateway_keys

        config, _ = gateway_keys.config(options)
    else:
        config = load(options.value("--config") or DEFAULT_PATH)
    return actions[words[0]](options, list(words[1:]), config)


def _add(options: Options, words: Sequence[str], config: Config) -> int:
    if words:
        raise Usage(f"unexpected: {' '.join(words)}; several users: --user A --user B")
    if not options.values("--user"):
        raise Usage("say for which OS users: --user NAME; --user '*' means all")
    from agent.commands import keyring

    # Do everything that can fail before a secret is made.
    host = _host(options, config)
    endpoint = options.value("--endpoint") or _endpoint(options, config)
    identifier, secret = keyring.new_pair()
    allow: dict[str, Any] = {
        "os_users": options.values("--user"),
        "instances": options.values("--instance"),
        "sources": options.values("--source"),
    }
    if options.on("--tag"):
        from agent.commands import gateway_keys

        allow["tags"] = gateway_keys.tags(options)
    made = keyring.entry(identifier, secret, allow, options.value("--expires") or "")
    keyring.edit(config.push.credentials, config.keys, lambda text: keyring.add_entry(text, made))
    code, said = _reload(options, config)
    if options.on("--json"):
        told = {"AccessKeyId": identifier, "SecretAccessKey": secret, "Endpoint": endpoint}
        print(json.dumps({**told, "Region": host["Region"], "Reloaded": not said}, indent=2))
    else:
        _print_profile(options.value("--profile") or "sixtykey", identifier, secret, endpoint, host)
    _say(said)
    if config.push.http is None:
        _say(
            "push.http is not in the configuration, so nobody can push over the network yet: set "
            "it (sixtykey.yaml(5)), and then: systemctl restart sixtykeyd"
        )
    return code


def _print_profile(
    profile: str, identifier: str, secret: str, endpoint: str, host: dict[str, Any]
) -> None:
    print("# This is shown once. Paste it into ~/.aws/config:")
    print(f"[profile {profile}]" if profile != "default" else "[default]")
    print(f"region = {host['Region']}")
    print(f"endpoint_url = {endpoint}")
    print(f"aws_access_key_id = {identifier}")
    print(f"aws_secret_access_key = {secret}")
    print("\n# Then, for instance:")
    print(f"# aws --profile {profile} ec2-instance-connect send-ssh-public-key \\")
    print(f"#   --instance-id {host['InstanceId']} \\")
    print(f"#   --availability-zone {host['AvailabilityZone']} \\")
    print("#   --instance-os-user USER --ssh-public-key file://$HOME/.ssh/id_ed25519.pub")


def _list(options: Options, words: Sequence[str], config: Config) -> int:
    refuse_more(words, 0)
    from agent.config.document import Problems
    from agent.sources.api import credentials

    path = config.push.credentials
    if os.path.exists(path) and not os.access(path, os.R_OK):
        hint = "run it as root: sudo sixtykey ..."
        raise Trouble(FORBIDDEN, "Forbidden", f"you may not read {path}", hint)
    try:
        there = os.path.exists(path)
        known = credentials.load(path, config.keys) if there else credentials.Credentials(())
    except Problems as problems:
        raise Trouble(
            REFUSED, "Credentials", "; ".join(problems.problems), "sixtykey check"
        ) from None
    shown = [_as_dict(credential) for credential in known]
    if options.on("--json"):
        print(json.dumps({"Credentials": shown}, indent=2))
    elif not shown:
        print("there is no access key; add one: sixtykey credentials add --user NAME")
    else:
        head = ("ACCESS KEY ID", "STATE", "OS USERS", "INSTANCES", "SOURCES", "KEYS")
        print("\n".join(table([head, *map(_row, shown)])))
    return DONE


def _row(shown: dict[str, Any]) -> tuple[str, ...]:
    """A credential's row of the table: lists with commas, and defaults in words."""
    keys = shown["Keys"]
    tags = [f"{name}={'|'.join(values)}" for name, values in shown["Tags"].items()]
    rules = [f"{keys['Lifetime']} s"] if keys["Lifetime"] else []
    rules += [keys["Uses"]] if keys["Uses"] else []
    rules += ["only from the pusher's address"] if keys["PinSource"] else []
    return (
        shown["AccessKeyId"],
        shown["State"],
        ", ".join(shown["OSUsers"]),
        ", ".join(shown["Instances"] + tags),
        ", ".join(shown["Sources"]) or "any",
        ", ".join(rules + keys["Options"]) or "as the host's",
    )


def _as_dict(credential: Credential) -> dict[str, Any]:
    state = "enabled"
    if credential.expires is not None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(credential.expires))
        state = f"until {when}" if credential.expires > time.time() else f"expired {when}"
    return {
        "AccessKeyId": credential.access_key_id,
        "State": state if credential.enabled else "disabled",
        "OSUsers": list(credential.allow.os_users),
        "Instances": list(credential.allow.instances),
        "Sources": [str(network) for network in credential.allow.sources],
        "Tags": {name: list(patterns) for name, patterns in credential.allow.tags},
        "Keys": {
            "Lifetime": credential.keys.lifetime,
            "Uses": credential.keys.uses,
            "PinSource": credential.keys.pin_source,
            "Options": list(credential.keys.options),
        },
    }


def _remove(options: Options, words: Sequence[str], config: Config) -> int:
    from agent.commands import keyring

    identifier = one_word(words, "the ACCESS_KEY_ID")
    path = config.push.credentials
    keyring.edit(path, config.keys, lambda text: keyring.remove_entry(text, identifier))
    code, said = _reload(options, config)
    if options.on("--json"):
        print(json.dumps({"Removed": identifier, "Reloaded": not said}, indent=2))
    else:
        print(f"removed {plain(identifier)}; keys that it pushed stay live: sixtykey list, revoke")
    _say(said)
    return code


def _reload(options: Options, config: Config) -> tuple[int, str]:
    """Have the daemon reload the file; returns the exit code and a message, if any."""
    if options.on("--gateway"):
        from agent.commands import gateway_keys

        return gateway_keys.reload()
    daemon = Daemon(options, config.push.socket)
    try:
        daemon.ask("Sixtykey.Reload")
    except Trouble as trouble:
        if trouble.exit_code == AWAY:
            return DONE, f"{trouble.words}; it will read the file when it starts"
        return REFUSED, f"the file is written, but the daemon has not reloaded it: {trouble.words}"
    return DONE, ""


def _say(words: str) -> None:
    if words:
        print(f"sixtykey: {plain(words)}", file=sys.stderr)


def _host(options: Options, config: Config) -> dict[str, str]:
    """The instance and zone that a push must name, for the printed example."""
    if options.on("--gateway"):
        from agent.commands import gateway_keys

        region = gateway_keys.config(options)[1]
        return {"InstanceId": "INSTANCE", "AvailabilityZone": "ZONE", "Region": region}
    from agent.config import identity

    try:
        host = identity.resolve(config.instance)
    except identity.IdentityError as error:
        raise Trouble(
            REFUSED, "Identity", str(error), "set instance.id in the configuration"
        ) from None
    return {
        "InstanceId": host.instance_id,
        "AvailabilityZone": host.availability_zone,
        "Region": host.region,
    }


def _endpoint(options: Options, config: Config) -> str:
    """The endpoint for clients, as far as the configuration determines it."""
    if options.on("--gateway"):
        from agent.commands import gateway_keys

        return gateway_keys.endpoint(options)
    http = config.push.http
    if http is None:
        return "http://127.0.0.1:8060"
    address = http.address
    if address in {"0.0.0.0", "::"}:
        address = os.uname().nodename
    elif ":" in address:
        address = f"[{address}]"
    return f"{'http' if http.tls is None else 'https'}://{address}:{http.port}"
