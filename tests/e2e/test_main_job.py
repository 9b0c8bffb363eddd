"""The main job with only real parts: AWS clients push, and sshd's clients log in."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import IS_ROOT, login_user, os_user, own_name, work_directory
from tests.parts.keys import KeyPair, make_key
from tests.parts.pushers import PUSHERS, Target, login_with_mssh, push_with_boto3
from tests.parts.raw import Answer, ask
from tests.parts.signed import push, sign
from tests.parts.ssh import CLIENTS, COMMAND, Login
from tests.parts.sshd import RunningSshd


@dataclass
class Host:
    """A host whose logins sixtykey decides, with OS users `user` and `other`."""

    directory: Path
    daemon: RunningDaemon
    sshd: RunningSshd
    user: str
    other: str
    keys: int = 0

    @property
    def target(self) -> Target:
        """The target that the pushers use."""
        return Target.of(self.daemon)

    def new_key(self, key_type: str = "ed25519", bits: int = 0) -> KeyPair:
        """Make a new key pair."""
        self.keys += 1
        return make_key(self.directory, f"id{self.keys}", key_type, bits=bits or None)

    def push(self, user: str, line: str) -> Answer:
        """Push with a valid signature and arbitrary parameters, as an attacker would."""
        call = sign(push(InstanceOSUser=user, SSHPublicKey=line))
        return ask(("127.0.0.1", self.daemon.http_port), call.raw())

    def expect(self, login: Login, *, accepted: bool) -> None:
        """Fail, with all logs, unless sshd accepted or refused the login as expected."""
        decided = login.accepted if accepted else login.refused
        assert decided, f"{login}\nsshd:\n{self.sshd.log()}\ndaemon:\n{self.daemon.log()}"

    def accepts(self, user: str, key: KeyPair, client: str = "ssh") -> None:
        """Fail unless the login succeeds."""
        self.expect(self.sshd.login(user, key, client), accepted=True)

    def refuses(self, user: str, key: KeyPair, client: str = "ssh") -> None:
        """Fail unless sshd refuses the key."""
        self.expect(self.sshd.login(user, key, client), accepted=False)

    def offers(self) -> dict[str, list[str]]:
        """Return the keys that sshd gets, for every OS user that matters here."""
        users = {self.user, self.other, own_name(), "root", "nobody", "passwd"}
        return {user: ask_helper(self.daemon.lookup_socket, user) for user in users}

    def new_offers(self, before: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Return the users and lines that sshd gets now and did not get `before`."""
        return [
            (user, line)
            for user, lines in self.offers().items()
            for line in lines
            if line not in before[user]  # keys may have expired since
        ]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """One daemon and one sshd for all tests of this file; each test uses different keys."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(work_directory())
        user = stack.enter_context(login_user())
        # An ordinary user's sshd accepts only that user: then the other one is just a name.
        other = stack.enter_context(os_user()) if IS_ROOT else "somebody-else"
        daemon = stack.enter_context(RunningDaemon(directory))
        sshd = stack.enter_context(RunningSshd(directory, daemon.lookup_socket))
        yield Host(directory, daemon, sshd, user, other)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("key_type", "bits"), [("ed25519", 0), ("rsa", 2048)])
@pytest.mark.parametrize("pusher", PUSHERS)
def test_a_pushed_key_logs_in(
    host: Host, pusher: str, key_type: str, bits: int, client: str
) -> None:
    """A key is refused before it is pushed and accepted afterwards, with any client and pusher."""
    key = host.new_key(key_type, bits)
    host.refuses(host.user, key, client)
    assert PUSHERS[pusher](host.target, host.user, key.line).ok
    host.accepts(host.user, key, client)


@pytest.mark.parametrize(("key_type", "bits"), [("ed25519", 0), ("rsa", 4096)])
def test_a_key_file_is_pushed_as_it_is(host: Host, key_type: str, bits: int) -> None:
    """A key file that the AWS CLI sends with comment and final newline logs in."""
    key = host.new_key(key_type, bits)
    assert PUSHERS["aws"](host.target, host.user, f"file://{key.public}").ok
    host.accepts(host.user, key)


def test_mssh_pushes_and_logs_in(host: Host) -> None:
    """AWS's own EC2 Instance Connect client works unchanged, from its push to its login."""
    done = login_with_mssh(host.target, host.user, host.sshd, shlex.quote(COMMAND))
    assert done.ok, f"{done}\nsshd:\n{host.sshd.log()}"
    assert done.output == f"logged in as {host.user}\n"


def test_a_login_is_traced_to_its_push(host: Host) -> None:
    """The audit names who pushed the key, and the record of the lookup names that push."""
    key = host.new_key()
    pushed = push_with_boto3(host.target, host.user, key.line)
    host.accepts(host.user, key)
    record = host.daemon.await_audit(event="push", request_id=pushed.request_id)
    expected = {
        "outcome": "allowed",
        "principal": host.target.access_key_id,
        "source": "127.0.0.1",
        "instance": host.daemon.instance_id,
        "os_user": host.user,
        "key_type": key.type,
        "fingerprint": key.fingerprint(),
    }
    assert expected.items() <= record.items()
    given = host.daemon.await_audit(event="lookup", outcome="given", request_id=pushed.request_id)
    assert (given["os_user"], given["fingerprint"]) == (host.user, key.fingerprint())


@pytest.mark.parametrize("client", CLIENTS)
def test_a_key_is_for_one_user(host: Host, client: str) -> None:
    """A key that was pushed for one OS user logs in as no other user."""
    key = host.new_key()
    assert push_with_boto3(host.target, host.other, key.line).ok
    host.refuses(host.user, key, client)
    if IS_ROOT:
        host.accepts(host.other, key, client)


@pytest.mark.parametrize("client", CLIENTS)
def test_another_key_is_refused(host: Host, client: str) -> None:
    """While a user has a live key, another key of the same type is refused."""
    pushed, other = host.new_key(), host.new_key()
    assert push_with_boto3(host.target, host.user, pushed.line).ok
    host.refuses(host.user, other, client)
    host.accepts(host.user, pushed, client)


@pytest.mark.parametrize("client", CLIENTS)
def test_two_keys_of_one_user_both_log_in(host: Host, client: str) -> None:
    """A second push for a user leaves the first key valid."""
    first, second = host.new_key(), host.new_key("rsa", 2048)
    for key in (first, second):
        assert push_with_boto3(host.target, host.user, key.line).ok
    for key in (first, second):
        host.accepts(host.user, key, client)


REFUSED: dict[str, dict[str, Any]] = {
    "AuthException": {"secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYWRONGSECRET"},
    "InvalidClientTokenId": {"access_key_id": "AKIAI44QH8DHBEXAMPLE"},
    "EC2InstanceNotFoundException": {"instance_id": "i-00000000000000000"},
}


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("pusher", PUSHERS)
def test_a_push_that_is_refused_lets_nobody_in(host: Host, pusher: str, code: str) -> None:
    """A push with a wrong secret, access key or instance is refused, and so is the login."""
    key = host.new_key()
    pushed = PUSHERS[pusher](dataclasses.replace(host.target, **REFUSED[code]), host.user, key.line)
    assert (pushed.ok, pushed.code) == (False, code)
    host.refuses(host.user, key)


@pytest.mark.parametrize("code", REFUSED)
def test_mssh_shows_why_it_was_refused(host: Host, code: str) -> None:
    """When its push is refused, mssh shows the error's name and does not log in."""
    target = dataclasses.replace(host.target, **REFUSED[code])
    done = login_with_mssh(target, host.user, host.sshd, "true")
    assert (done.ok, done.code) == (False, code)


def test_another_zone_is_not_this_host(host: Host) -> None:
    """A push for this instance in another availability zone is refused."""
    key = host.new_key()
    target = dataclasses.replace(host.target, availability_zone="us-east-2c")
    assert push_with_boto3(target, host.user, key.line).code == "EC2InstanceNotFoundException"
    host.refuses(host.user, key)


SMUGGLED_KEYS = {
    "a second line": "{key}\n{evil}",
    "a second line behind CR LF": "{key}\r\n{evil}",
    "a second line behind CR": "{key}\r{evil}",
    "a line before it": "\n{evil}\n{key}",
    "an option": 'command="id" {key}',
    "an option that is quoted badly": 'command="id {key}',
    "an option behind a newline": '{key}\ncommand="id" {evil}',
    "options before a second key": "{key} \ncert-authority {evil}",
    "a vertical tab": "{key}\v{evil}",
    "a form feed": "{key}\f{evil}",
    "a certificate's type": "ssh-ed25519-cert-v01@openssh.com {base64}",
    "a wrong type": "ssh-rsa {base64} with the blob of another",
}


@pytest.mark.parametrize("text", SMUGGLED_KEYS.values(), ids=list(SMUGGLED_KEYS))
def test_nothing_is_smuggled_in_with_a_key(host: Host, text: str) -> None:
    """A key parameter that is not exactly one plain key is refused, and sshd gets no new line."""
    key, evil = host.new_key(), host.new_key()
    before = host.offers()
    line = text.format(key=key.line, evil=evil.line, base64=key.base64)
    assert host.push(host.user, line).code == "InvalidArgsException"
    assert host.new_offers(before) == []
    host.refuses(host.user, evil)


COMMENTS = [
    "{evil}", '" command="id" {evil}', "no-pty,{evil}", "\\n{evil}", "# {evil}", "a\u2028{evil}",
    "a\u0085{evil}",
]  # fmt: skip


@pytest.mark.parametrize("comment", COMMENTS)
def test_a_comment_never_reaches_sshd(host: Host, comment: str) -> None:
    """The key's comment, whatever it contains, is replaced by the request id."""
    key, evil = host.new_key(), host.new_key()
    before = host.offers()
    line = f"{key.type} {key.base64} {comment.format(evil=evil.line)}"
    pushed = host.push(host.user, line)
    assert pushed.code == ""
    offered = f"{key.type} {key.base64} {pushed.request_id}"
    assert host.new_offers(before) == [(host.user, offered)]
    host.refuses(host.user, evil)


SMUGGLED_USERS = [
    "../../etc", "../../etc/passwd", "/etc/passwd", "{user}\n", "\n{user}", "{user}\nroot",
    "{user} root", " {user}", "{user}\t", "-oProxyCommand=id", "{user}/../root", "{user}:root",
    "root\n", "*", "{user},root", "ro\u00f6t", "{user}\u0000", ".", "..",
]  # fmt: skip


@pytest.mark.parametrize("name", SMUGGLED_USERS)
def test_nothing_is_smuggled_in_with_a_user(host: Host, name: str) -> None:
    """An invalid OS user name is refused, and sshd gets no new line for any user."""
    key = host.new_key()
    before = host.offers()
    assert host.push(name.format(user=host.user), key.line).code == "InvalidArgsException"
    assert host.new_offers(before) == []
    host.refuses(host.user, key)
