"""Every client pushes over HTTP and over TLS, and shows the error that it received."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Callable

import pytest

from tests.parts.certificates import Authority
from tests.parts.daemon import RunningDaemon
from tests.parts.helper import ask_helper
from tests.parts.host import work_directory
from tests.parts.other_pushers import push_with_curl, push_with_javascript, push_with_mssh
from tests.parts.pushers import Pushed, Target, push_with_aws_cli, push_with_boto3
from tests.parts.signed import fresh_key

CLIENTS: dict[str, Callable[[Target, str, str], Pushed]] = {
    "boto3": push_with_boto3,
    "aws": push_with_aws_cli,
    "mssh": push_with_mssh,
    "curl": push_with_curl,
    "javascript": push_with_javascript,
}
# A throttled client would retry; these tests check its first answer.
ONCE = {"AWS_MAX_ATTEMPTS": "1"}


@dataclass
class Service:
    """Two daemons, one of them with TLS; each accepts one key for a user."""

    plain: RunningDaemon
    encrypted: RunningDaemon
    bundle: str
    users: int = 0

    def target(self, scheme: str) -> Target:
        """The endpoint of one of them, and the authority to trust."""
        if scheme == "http":
            return replace(Target.of(self.plain), environment=ONCE)
        return replace(
            Target.of(self.encrypted),
            endpoint=f"https://localhost:{self.encrypted.http_port}",
            environment={**ONCE, "AWS_CA_BUNDLE": self.bundle},
        )

    def daemon(self, scheme: str) -> RunningDaemon:
        """The daemon for this scheme."""
        return self.plain if scheme == "http" else self.encrypted

    def new_user(self) -> str:
        """An OS user without any pushed key."""
        self.users += 1
        return f"user-{self.users}"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Both daemons, shared by all tests of this file."""
    with contextlib.ExitStack() as stack:
        directories = [stack.enter_context(work_directory()) for _ in range(2)]
        authority = Authority(directories[1])
        certificate, key = authority.issue("server")
        tls = {"certificate": str(certificate), "private_key": str(key)}
        changes: list[dict[str, Any]] = [{}, {"push": {"http": {"tls": tls}}}]
        daemons = [
            stack.enter_context(RunningDaemon(place, config={"keys": {"per_user": 1}, **change}))
            for place, change in zip(directories, changes)
        ]
        yield Service(daemons[0], daemons[1], str(authority.file))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_pushes(service: Service, client: str, scheme: str) -> None:
    """Every client's push succeeds, and sshd receives the pushed key."""
    user, key, daemon = service.new_user(), fresh_key(), service.daemon(scheme)
    pushed = CLIENTS[client](service.target(scheme), user, key)
    assert pushed.ok, pushed
    (line,) = ask_helper(daemon.lookup_socket, user)
    record = daemon.await_audit(event="push", outcome="allowed", os_user=user)
    assert ("tls" in record) == (scheme == "https")
    if client != "mssh":
        assert line == f"{' '.join(key.split(' ')[:2])} {pushed.request_id}"


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "AuthException": ({"secret_access_key": "wrong"}, "{user}"),
    # Clients check lengths, and mssh patterns of its own, that let capitals pass.
    "InvalidArgsException": ({"instance_id": "i-0F1E2D3C4B5A69788"}, "{user}"),
    "EC2InstanceNotFoundException": ({"instance_id": "i-0123456789abcdef0"}, "{user}"),
    "ThrottlingException": ({}, "full"),
}


def expect_refusal(service: Service, client: str, scheme: str, code: str) -> None:
    """Fail unless the client shows this error."""
    changes, user = REFUSED[code]
    target = replace(service.target(scheme), **changes)  # type: ignore[arg-type]
    if code == "ThrottlingException":
        # Make sure that the user has one key already, which is the limit.
        push_with_curl(service.target(scheme), user, fresh_key())
    name = user.format(user=service.new_user())
    pushed = CLIENTS[client](target, name, fresh_key())
    assert (pushed.ok, pushed.code) == (False, code), pushed
    assert ask_helper(service.daemon(scheme).lookup_socket, name) == [] or name == "full"


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_reports_a_refusal(service: Service, client: str, code: str) -> None:
    """Every client shows the error's name as in AWS's reference, in its own class or words."""
    expect_refusal(service, client, "http", code)


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_reports_a_refusal_over_tls(service: Service, client: str) -> None:
    """Every client shows the error's name over TLS too."""
    expect_refusal(service, client, "https", "AuthException")


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_refuses_an_untrusted_server(service: Service, client: str) -> None:
    """Without the authority's bundle no client pushes, so every client verifies the certificate."""
    target = replace(service.target("https"), environment=ONCE)
    user = service.new_user()
    pushed = CLIENTS[client](target, user, fresh_key())
    assert not pushed.ok
    assert service.encrypted.audit(os_user=user) == []
