"""sixtykey push: the key from a file or stdin, and the errors when it is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

import pytest

from tests.parts.command import run, run_as
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, helper_group
from tests.parts.keys import KeyPair, make_key


def test_a_pushed_key_is_given_to_sshd(daemon: RunningDaemon, key: KeyPair) -> None:
    """A pushed key is given to sshd; the output has fingerprint, end and request id."""
    done = run("push", "alice", str(key.public), "--socket", daemon.push_socket)
    assert done.code == 0, done
    assert re.search(
        rf"^pushed +{re.escape(key.fingerprint())} from {key.public}$", done.out, re.MULTILINE
    )
    assert re.search(r"^until +\d\d:\d\d:\d\d, 60 s$", done.out, re.MULTILINE)
    (line,) = ask_helper(daemon.lookup_socket, "alice")
    assert line.split(" ")[1] == key.base64
    assert done.out.rstrip().endswith(line.split(" ")[2])


def test_the_key_is_read_from_stdin_and_json_printed(daemon: RunningDaemon, key: KeyPair) -> None:
    """The key is read from standard input, with or without `-`, and --json prints JSON."""
    words = ("push", "bob", "--json", "--socket", daemon.push_socket)
    for more in ([], ["-"]):
        answer = run(*words, *more, text=key.line + "\n").json
        assert answer["Fingerprint"] == key.fingerprint()
        assert answer["Success"] is True
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["Until"])
        assert daemon.await_audit(event="push", request_id=answer["RequestId"])


def test_the_configuration_names_the_socket(daemon: RunningDaemon, key: KeyPair) -> None:
    """With --config, the push goes to the configured socket."""
    done = run("push", "carol", str(key.public), "--config", str(daemon.config_file))
    assert done.code == 0, done


def test_a_private_key_is_never_sent(daemon: RunningDaemon, key: KeyPair) -> None:
    """A private key is refused before anything is sent, and the .pub file is named."""
    before = len(daemon.audit())
    done = run("push", "alice", str(key.private), "--socket", daemon.push_socket)
    assert done.code == 1
    assert "is a private key; it was not sent" in done.err
    assert f"{key.private}.pub" in done.err
    assert len(daemon.audit()) == before


@pytest.mark.parametrize(
    ("os_user", "text", "code", "words"),
    [
        ("alice", "ssh-ed25519 AAAA damaged", "InvalidArgsException", "SSHPublicKey"),
        ("alice", "", "InvalidArgsException", "80 to 4096 characters"),
        ("../../etc", None, "InvalidArgsException", "OS user"),
    ],
)
def test_a_refusal_says_why(
    daemon: RunningDaemon, key: KeyPair, os_user: str, text: Optional[str], code: str, words: str
) -> None:
    """A refused push gives exit code 1 and the error's code and message, also in JSON."""
    line = key.line if text is None else text
    done = run("push", os_user, "--socket", daemon.push_socket, text=line)
    assert (done.code, done.out) == (1, "")
    assert f"refused, {code}: " in done.err
    assert words in done.err
    told = run("push", os_user, "--json", "--socket", daemon.push_socket, text=line)
    assert told.code == 1
    assert told.json["Error"] == code
    assert told.json["Message"] in done.err


def test_too_many_keys_are_throttled_in_words(directory: Path, key: KeyPair) -> None:
    """When a user has the most keys allowed, the error names keys.per_user."""
    folder = directory / "full"
    folder.mkdir()
    more = make_key(directory, "one_more")
    with RunningDaemon(folder, config={"keys": {"per_user": 1}}) as daemon:
        run("push", "alice", str(key.public), "--socket", daemon.push_socket)
        done = run("push", "alice", str(more.public), "--socket", daemon.push_socket)
    assert done.code == 1
    assert "ThrottlingException" in done.err
    assert "keys.per_user" in done.err


def test_a_missing_key_file_is_named(daemon: RunningDaemon) -> None:
    """A missing key file is an error with its name."""
    done = run("push", "alice", "/nonexistent/id.pub", "--socket", daemon.push_socket)
    assert (done.code, done.err) == (
        1,
        "sixtykey: /nonexistent/id.pub: No such file or directory\n",
    )


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_the_group_may_push_and_others_may_not(
    daemon: RunningDaemon, key: KeyPair, user: str
) -> None:
    """A member of the socket's group may push, and any other user is refused with a hint."""
    words = ("push", "dave", str(key.public), "--socket", daemon.push_socket)
    refused = run_as(user, *words)
    assert refused.code == 4
    assert "you may not connect to" in refused.err
    assert "sudo sixtykey" in refused.err
    assert run_as(user, *words, "--json").json["Error"] == "Forbidden"
    done = run_as(user, *words, group=helper_group())
    assert done.code == 0, done
    record = daemon.await_audit(event="push", os_user="dave")
    assert record["principal"] != "uid:0"
