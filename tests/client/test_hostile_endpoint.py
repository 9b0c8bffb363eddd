"""An answer from a hostile endpoint becomes a clear error, runs nothing, and is bounded."""

from __future__ import annotations

import base64
import itertools
import json
import socket
from typing import Any, Callable

import pytest

from agent.client import dial, hosts, https, limits, settings, targets
from agent.client.api import HOSTS, Api, url_of
from agent.client.sigv4 import Credential
from agent.client.trouble import Trouble
from agent.commands import options, why_host
from agent.config.fleet_limits import FLEET
from agent.fleet.messages import description
from tests.parts.listener import Listener

Answers = Callable[[], bytes]


class Liar(Listener):
    """A listening socket that answers each request with the given bytes."""

    def __init__(self, answer: Answers) -> None:
        super().__init__()
        self._answer = answer
        self.requests: list[bytes] = []
        self.url = f"http://{self.place}"

    def take(self, sock: socket.socket) -> None:
        """Answer a request."""
        self.requests.append(sock.recv(1 << 16))
        sock.sendall(self._answer())


def http(body: bytes, first: str = "HTTP/1.1 200 OK", *headers: str) -> bytes:
    """A complete HTTP response."""
    lines = [first, f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def api(url: str) -> Api:
    """The endpoint, asked with a credential."""
    chosen = settings.load({"HOME": "/dev/null/nowhere"}, {"endpoint": url})
    return Api(chosen, Credential("AKIASOMEBODY", "secret"), "us-east-1")


SLOWER = b'{"__type": "ThrottlingException"}'
LIES = {
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "a raised status": "HTTP/1.1 \xb2\r\nContent-Length: 0\r\n\r\n".encode("latin-1"),
    "a raised length": "HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n".encode("latin-1"),
    "an endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a raised pause": http(SLOWER, "HTTP/1.1 400 No", "x-amz-retry-after: \xb2"),
    "an endless pause": http(SLOWER, "HTTP/1.1 400 No", "x-amz-retry-after: " + "9" * 400),
    "a far year": http(b"{}", "HTTP/1.1 403 No", f"Date: Sun, 06 Nov {'9' * 400} 08:49:37 GMT"),
    "deep JSON": http(b"[" * 200_000),
    "deep JSON in an error": http(b"[" * 200_000, "HTTP/1.1 403 No"),
    "another place": http(b"{}", "HTTP/1.1 307 There", "Location: http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_malformed_answer_is_explained(monkeypatch: pytest.MonkeyPatch, lie: bytes) -> None:
    """A malformed answer raises Trouble, and a redirect is not followed."""
    monkeypatch.setattr(limits, "PUSH_PAUSE_MOST_SECONDS", 0.01)
    with Liar(lambda: lie) as liar, pytest.raises(Trouble):
        api(liar.url).ask(HOSTS, {})


def test_an_error_is_one_line_and_a_short_one() -> None:
    """An endpoint's error is shown on one line of limited length."""
    body = {"__type": "Denied\nsixtykey: run", "Message": "no\n\nsixtykey: run this" + "!" * 9999}
    answer = http(json.dumps(body).encode(), "HTTP/1.1 400 No")
    with Liar(lambda: answer) as liar, pytest.raises(Trouble) as told:
        api(liar.url).ask(HOSTS, {})
    assert told.value.code == "HTTP400"
    assert "\n" not in told.value.words
    assert len(told.value.words) < 1100


def test_a_page_without_a_host_is_the_last() -> None:
    """A page of hosts that is empty ends the list, even if it names a next page."""
    counter = itertools.count()
    with Liar(lambda: http(b'{"Hosts": [], "NextToken": "%09d"}' % next(counter))) as liar:
        chosen = settings.load({"HOME": "/dev/null/nowhere"}, {"endpoint": liar.url})
        assert targets.list_hosts(chosen, api(liar.url), "us-east-1") == []
    assert len(liar.requests) == 1


def test_a_list_of_hosts_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with more hosts than the limit is refused."""
    monkeypatch.setattr(limits, "HOSTS_MOST", 50)
    counter = itertools.count()
    host = {"InstanceId": "i-1", "AvailabilityZone": "z"}

    def page() -> bytes:
        token = f"{next(counter):09}"
        return http(json.dumps({"Hosts": [host] * 10, "NextToken": token}).encode())

    with Liar(page) as liar:
        asked = api(liar.url)
        chosen = settings.load({"HOME": "/dev/null/nowhere"}, {"endpoint": liar.url})
        with pytest.raises(Trouble, match="more than 50 hosts"):
            targets.list_hosts(chosen, asked, "us-east-1")
    assert len(liar.requests) == 6


@pytest.mark.parametrize("host_keys", [["ssh-ed25519 AAAA"] * 33, ["ssh-rsa " + "A" * 5000]])
def test_a_host_has_few_and_short_keys(host_keys: list[str]) -> None:
    """A host with too many host keys, or too long ones, is refused."""
    with pytest.raises(ValueError, match="key"):
        hosts.Host.of({"InstanceId": "i-1", "AvailabilityZone": "z", "HostKeys": host_keys})


@pytest.mark.parametrize("kind", ["ssh-ed25519", "@cert-authority", "-x", ".x", "x" * 64])
def test_no_host_of_a_fleet_can_have_every_list_refused(kind: str) -> None:
    """Host keys that a gateway accepts are accepted by the client too."""
    raw = len(kind).to_bytes(4, "big") + kind.encode()
    key = f"{kind} {base64.b64encode(raw).decode()}"
    try:
        description.host_key(key)
    except ValueError:
        return
    long = "ssh-rsa " + "A" * FLEET.host_key_characters
    told = [key] * (FLEET.list_items - 1) + [long]
    found = {"InstanceId": "i-1", "AvailabilityZone": "z", "HostKeys": told}
    assert hosts.Host.of(found).host_keys == tuple(told)


def test_a_host_is_a_value() -> None:
    """A host that was parsed stays as it is; equal ones are equal."""
    found = {"InstanceId": "i-1", "AvailabilityZone": "z", "Tags": {"env": "test"}}
    only = hosts.Host.of(found, single=True)
    assert only.is_called("anything")
    assert only == hosts.Host.of(found, single=True) != hosts.Host.of(found)
    assert hosts.Host.of(only.document()) == hosts.Host.of(found)
    with pytest.raises(AttributeError):
        only.single = False  # type: ignore[misc]
    with pytest.raises(AttributeError):
        only.nickname = "x"  # type: ignore[attr-defined]


def test_a_host_has_few_addresses() -> None:
    """Only the first few addresses of a host are kept."""
    found = {"InstanceId": "i-1", "AvailabilityZone": "z", "Addresses": ["a.example"] * 100_000}
    assert len(hosts.Host.of(found).addresses) == limits.ADDRESSES


def test_an_address_that_is_no_name_is_explained() -> None:
    """An address that IDNA cannot encode raises Trouble."""
    with pytest.raises(Trouble):
        dial.dial(["\xe9" * 70], 22, 1.0, "it")


@pytest.mark.parametrize("url", ["http://127.0.0.1.example", "http://127.example:80/"])
def test_a_name_that_begins_like_this_machine_is_not_this_machine(url: str) -> None:
    """A name that begins like a loopback address is not loopback, and http to it is refused."""
    with pytest.raises(Trouble, match="could be read"):
        https.Address(url).check_private()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a b", "http://127.0.0.1/a\r\nX-Evil: 1", "http://127.0.0.1/a%20b",
     "http://127.0.0.1:1/?x", "http://127.0.0.1\r\nX-Evil: 1", "http://a b/", "http://h:\xb2/"],
)  # fmt: skip
def test_an_endpoint_is_a_plain_url(url: str) -> None:
    """An endpoint with a space, line break, escape or query is refused."""
    with pytest.raises(Trouble, match="is not a URL"):
        https.Address(url)


@pytest.mark.parametrize("region", ["x.evil.example/", "evil.example#", "a@evil", "\xe9", ""])
def test_a_region_cannot_name_another_host(region: str) -> None:
    """A region that would change the host name of AWS's endpoint is refused."""
    with pytest.raises(Trouble, match="region"):
        url_of(settings.load({"HOME": "/dev/null/nowhere"}, {}), region)


DECISIONS: list[dict[str, Any]] = [
    {"event": "revoke", "principal": "AKIA", "outcome": "allowed", "age": 1e300},
    {"event": "revoke", "principal": "AKIA", "outcome": "allowed", "age": "x"},
]


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Runs `sixtykey why somebody@web-1`, which is given an answer with these members."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOMEBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HOME", "/dev/null/nowhere")
    monkeypatch.setenv("SIXTYKEY_REGION", "us-east-1")
    monkeypatch.setenv("SIXTYKEY_INSTANCE", "i-0f1e2d3c4b5a69788")
    monkeypatch.setenv("SIXTYKEY_ZONE", "us-east-2b")
    host = {"InstanceId": "i", "AvailabilityZone": "z", "Region": "r"}

    def ask(answer: dict[str, Any]) -> None:
        body = json.dumps({**host, **answer}).encode()
        with Liar(lambda: http(body)) as liar:
            monkeypatch.setenv("SIXTYKEY_ENDPOINT", liar.url)
            why_host.run(options.Options(), "somebody", "web-1")

    return ask


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_malformed_list_of_pushes_is_explained(
    asking: Callable[[dict[str, Any]], None], decision: dict[str, Any]
) -> None:
    """`sixtykey why` reports malformed decisions of a host as an error."""
    with pytest.raises(Trouble, match="an invalid answer"):
        asking({"Decisions": [decision]})


def test_an_answer_without_the_host_is_shown_as_such(
    asking: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """If only the gateway answers, `why` says so in one line, and shows what the gateway knows."""
    refused = {
        "event": "push", "at": "gateway", "outcome": "EC2InstanceNotFoundException", "age": 1,
        "times": 1, "principal": "AKIASOMEBODY", "reason": "gone",
    }  # fmt: skip
    asking({"AvailabilityZone": None, "Unanswered": "It is\x1b[31m gone", "Decisions": [refused]})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "! only the gateway answers: It is\\x1b[31m gone"
    assert "at the gateway: a key pushed by AKIASOMEBODY: refused" in second
