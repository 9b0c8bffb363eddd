"""The client behind a company's proxy: HTTPS_PROXY and NO_PROXY, and TLS as without them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from agent.client import settings, web_proxy
from agent.client.api import PUSH, Api
from agent.client.sigv4 import Credential
from agent.client.trouble import Trouble
from tests.parts.certificates import Authority
from tests.parts.connect_proxy import ConnectProxy
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, REGION, ZONE, RunningDaemon
from tests.parts.host import work_directory
from tests.parts.signed import fresh_key

RIGHT = Credential(CREDENTIAL["access_key_id"], CREDENTIAL["secret_access_key"], origin="test")
NAME = "keys.example"
"""The endpoint's name, which only the proxy can resolve."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon with TLS, whose certificate is for NAME too."""
    with work_directory() as folder:
        certificate, key = Authority(folder).issue("server")
        tls = {"certificate": str(certificate), "private_key": str(key)}
        with RunningDaemon(folder, config={"push": {"http": {"tls": tls}}}) as running:
            yield running


def push(
    daemon: RunningDaemon, environ: dict[str, str], ca: Optional[Path] = None, name: str = NAME
) -> bool:
    """Push to the daemon by the endpoint's name; whether it was accepted."""
    given = {
        "endpoint": f"https://{name}:{daemon.http_port}",
        "ca": str(ca or daemon.directory / "ca.pem"),
    }
    asked = Api(settings.load({"HOME": "/nonexistent", **environ}, given), RIGHT, REGION)
    members = {
        "InstanceId": INSTANCE_ID, "AvailabilityZone": ZONE, "InstanceOSUser": "ec2-user",
        "SSHPublicKey": fresh_key(),
    }  # fmt: skip
    return bool(asked.ask(PUSH, members)["Success"])


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_a_push_goes_through_the_proxy(daemon: RunningDaemon, scheme: str, variable: str) -> None:
    """With HTTPS_PROXY the proxy connects to the endpoint, and sees TLS only."""
    with ConnectProxy() as proxy:
        assert push(daemon, {variable: f"{scheme}{proxy.place}/"})
    (head,) = proxy.heads
    place = f"{NAME}:{daemon.http_port}"
    assert head == f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n"
    assert proxy.relayed[:2] == b"\x16\x03"
    for secret in (CREDENTIAL["access_key_id"], "SendSSHPublicKey", "ssh-ed25519"):
        assert secret.encode() not in proxy.relayed


def test_a_proxy_gets_its_user_and_password(daemon: RunningDaemon) -> None:
    """The user and password in the URL go to the proxy, whatever characters they have."""
    with ConnectProxy() as proxy:
        assert push(daemon, {"HTTPS_PROXY": f"http://me:p%40%0d%0ass@{proxy.place}"})
    (head,) = proxy.heads
    told = head.partition("Proxy-Authorization: Basic ")[2]
    assert base64.b64decode(told.strip()) == b"me:p@\r\nss"
    assert head.count("\r\n") == 4


def test_a_proxy_cannot_stand_in_for_the_endpoint(daemon: RunningDaemon, tmp_path: Path) -> None:
    """The endpoint's certificate is checked through a proxy as without one, by name and issuer."""
    with ConnectProxy() as proxy:
        environ = {"HTTPS_PROXY": proxy.place}
        with pytest.raises(Trouble, match=r"certificate|self.signed|issuer"):
            push(daemon, environ, Authority(tmp_path).file)
        with pytest.raises(Trouble, match="mismatch"):
            push(daemon, environ, name="other.example")
    assert len(proxy.heads) == 2
    assert daemon.audit(event="push", os_user=None) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", "does not connect to keys.example:[0-9]+: 403"),
        (b"HTTP/1.1 407 Who?\r\n\r\n", "wants a user and a password"),
        (b"HTTP/1.1 \xb2\xb2\xb2\r\n\r\n", "no HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03", "sends more than its answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nx\r\n\r\n", "sends more than its answer"),
        (b"HTTP/1.1 200 OK\r\n", "has closed the connection"),
        (b"x" * 100_000, "does not answer as a proxy does"),
    ],
)
def test_a_proxy_that_does_not_connect_is_named(
    daemon: RunningDaemon, answer: bytes, words: str
) -> None:
    """A proxy's refusal, or an answer that is none, is an error that names HTTPS_PROXY."""
    with ConnectProxy(answer) as proxy, pytest.raises(Trouble, match=words) as told:
        push(daemon, {"HTTPS_PROXY": proxy.place})
    assert "HTTPS_PROXY" in f"{told.value.words} {told.value.hint}"
    assert told.value.words.isprintable()


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("me:pass", b"me:pass"),
        ("me", b"me:"),
        ("me:", b"me:"),
        ("me:a://b", b"me:a://b"),
        ("me:a/b@c", b"me:a/b@c"),
        ("a%3Ab", b"a:b:"),
    ],
)
@pytest.mark.parametrize("scheme", ["http://", "HTTP://", ""])
@pytest.mark.parametrize("path", ["", "/", "/proxy.pac"])
def test_the_parts_of_a_proxys_url(scheme: str, login: str, told: bytes, path: str) -> None:
    """A password may have any mark in it, an absent one is empty, and a path means nothing."""
    proxy = web_proxy.Proxy(f"{scheme}{login}@p.example:3128{path}")
    assert (proxy.host, proxy.port) == ("p.example", 3128)
    kind, _, encoded = proxy.authorization.partition(" ")
    assert (kind, base64.b64decode(encoded)) == ("Basic", told)
    open_to_all = web_proxy.Proxy(f"{scheme}p.example{path}")
    assert (open_to_all.port, open_to_all.authorization) == (80, "")


def test_a_wrong_proxy_stops_nothing_that_asks_nobody(daemon: RunningDaemon) -> None:
    """A wrong HTTPS_PROXY is an error of the first request: a live lease needs none."""
    given = {"endpoint": f"https://{NAME}:{daemon.http_port}"}
    found = settings.load({"HOME": "/nonexistent", "HTTPS_PROXY": "socks5://p:1080"}, given)
    api = Api(found, RIGHT, REGION)
    with pytest.raises(Trouble, match="HTTPS_PROXY is not"):
        api.ask(PUSH, {})


@pytest.mark.parametrize(
    "url", ["https://p.example", "socks5://p.example:1080", "http://u:secret@:80", "p:0", "-x:80",
            "p:99999", "p q:80", "p\r\nx:80"],
)  # fmt: skip
def test_a_wrong_proxy_is_refused_without_its_password(url: str) -> None:
    """A value that is not an http proxy's URL is refused, and not quoted: it may have a secret."""
    with pytest.raises(Trouble, match="HTTPS_PROXY is not") as told:
        web_proxy.of({"HTTPS_PROXY": url}, NAME, 443)
    assert "secret" not in f"{told.value.words} {told.value.hint}"


@pytest.mark.parametrize(
    ("environ", "host", "used"),
    [
        ({}, NAME, False),
        ({"https_proxy": "", "HTTPS_PROXY": "p:1"}, NAME, False),
        ({"https_proxy": "q:1", "HTTPS_PROXY": "-"}, NAME, True),
        ({"HTTPS_PROXY": "p:1", "HTTP_PROXY": "-"}, NAME, True),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, NAME, False),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "a.example, Example"}, NAME, False),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": ".example"}, NAME, False),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "KEYS.example:8060"}, NAME, False),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "keys.example:8061"}, NAME, True),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "s.example,,ample"}, NAME, True),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "*", "no_proxy": ""}, NAME, True),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.5"}, "10.0.0.5", False),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "[2001:db8::1]"}, "2001:db8::1", False),
        ({"HTTPS_PROXY": "[2001:db8::9]:3128"}, "2001:db8::1", True),
    ],
)
def test_the_environment_decides_as_for_aws_tools(
    environ: dict[str, str], host: str, used: bool
) -> None:
    """NO_PROXY excepts names, domains, addresses and places; lower-case variables come first."""
    assert (web_proxy.of(environ, host, 8060) is not None) == used


def test_an_endpoint_on_this_machine_is_never_asked_through_a_proxy(daemon: RunningDaemon) -> None:
    """An endpoint on loopback, as through a tunnel, is connected to directly."""
    with ConnectProxy() as proxy:
        assert push(daemon, {"HTTPS_PROXY": proxy.place}, name="127.0.0.1")
    assert proxy.heads == []
