"""Whatever a join token, a URL, a file or a gateway's answer is, a host gets one clear line."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.fleet.home.authority import fingerprint
from agent.fleet.host import joining
from agent.fleet.host.joining import NoGateway
from agent.fleet.messages import documents
from agent.fleet.messages.documents import Rejected
from agent.fleet.messages.tokens import KIND, JoinToken
from tests.fleet.members import URL, token
from tests.fleet.sample_messages import ISSUER, NOW
from tests.parts.any_gateway import AnyGateway
from tests.parts.command import run

HUGE = 10**4000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyGateway]:
    """A gateway whose answers the tests set."""
    with AnyGateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def request_time(at: AnyGateway) -> object:
    """The gateway's clock."""
    return joining.ask_time(at.url, at.ca)


def request_state(at: AnyGateway) -> object:
    """What the gateway goes by."""
    return joining.fetch_state(at.url, at.ca)


def request_authority(at: AnyGateway) -> object:
    """The gateway's authority."""
    return joining.fetch_authority(at.url, fingerprint(at.ca))


def request_leave(at: AnyGateway) -> object:
    """The answer to a host that leaves."""
    return joining.ask(at.url, "leave", b"{}", at.ca)


def request_membership(at: AnyGateway) -> object:
    """A membership."""
    return joining.enter(at.url, "renew", b"{}", at.ca, {ISSUER.public})


REQUESTS = (
    request_time, request_state, request_authority, request_leave, request_membership,
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [HUGE, -HUGE, 1 << 63, "\ud800", "x\udfff", float("inf"), float("nan"), 1e308]
    )
    | st.text(st.characters())
    | st.binary().map(lambda raw: raw.decode("latin-1")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["ca", "now", "membership", "error", "account", "facts", "issuer"])
BODIES = (
    st.dictionaries(NAMES, VALUES).map(lambda each: json.dumps(each).encode())
    | VALUES.map(lambda each: json.dumps(each).encode())
    | st.binary()
)


@pytest.mark.parametrize("request_", REQUESTS)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from([200, 200, 200, 204, 301, 403, 500, 999]), BODIES)
@example(200, json.dumps({"now": HUGE}).encode())
@example(200, json.dumps({"now": -1}).encode())
@example(200, b'{"membership": "\\ud800", "ca": "\\udfff", "account": "\\ud800"}')
@example(403, b'{"error": "two\\nlines \\ud800 \\u001b[2J"}')
@example(200, b'{"ca": "x"}')
@example(200, b"[" * 60_000)
@example(200, b'{"now": ' + b"9" * 60_000 + b"}")
def test_no_answer_of_a_gateway_is_a_traceback(
    gateway: AnyGateway, request_: Callable[[AnyGateway], object], status: int, body: bytes
) -> None:
    """Any status and body gives a result or one line that says what is wrong."""
    gateway.says(status, body)
    _check_line(lambda: request_(gateway))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
@example(b"HTTP/1.1 200 x\r\nContent-Length: 99\r\n\r\n{}")
@example(b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 200 + b"\r\n{}")
@example(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
@example(b"HTTP/1.1 " + b"9" * 100 + b"\r\n\r\n")
def test_no_bytes_of_a_gateway_are_a_traceback(raw: bytes) -> None:
    """Any bytes in an answer's place give one line that says what is wrong."""
    gateway = _shared()
    gateway.answer = raw
    _check_line(lambda: request_time(gateway))


_running: list[AnyGateway] = []


def _shared() -> AnyGateway:
    return _running[0]


@pytest.fixture(autouse=True)
def _share(gateway: AnyGateway) -> Iterator[None]:
    _running.append(gateway)
    yield
    _running.clear()


def _check_line(action: Callable[[], object]) -> None:
    """The action succeeds, or raises one of the two errors with one line of plain text."""
    try:
        action()
    except (NoGateway, Rejected) as error:
        assert str(error)
        assert str(error).isprintable()


URLS = (
    "", "gw.example", "http://127.0.0.1", "https://", "https://:1", "https://127.0.0.1:99999",
    "https://127.0.0.1:0", "https://127.0.0.1:x", "https://127.0.0.1:١", "https://[", "https://[::1",
    "https://[x]", "https://127.0.0.1:1/path", "https://me@127.0.0.1:1", "https://127.0.0.1\n:1",
    "https://a b", "https://é.example", f"https://{'a' * 64}.example", "https://a..b", "https://a\0",
    "https://\ud800",
)  # fmt: skip


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_a_malformed_url_is_explained(gateway: AnyGateway, url: str) -> None:
    """A URL that is none, or has more than a name and a port, is refused in words."""
    with pytest.raises(NoGateway, match="a gateway's URL is https://NAME or https://NAME:PORT"):
        joining.ask_time(url, gateway.ca)


@pytest.mark.parametrize("ca", ["", " \n", "x", "é", "\ud800", "-----BEGIN CERTIFICATE-----\n"])
def test_an_unusable_authority_is_explained(gateway: AnyGateway, ca: str) -> None:
    """A file of the authority that is empty, damaged or no text is refused in words."""
    with pytest.raises(NoGateway, match=r"ca\.pem.*join again"):
        joining.ask_time(gateway.url, ca)


def test_an_empty_authority_trusts_nobody(
    gateway: AnyGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty ca.pem a host does not trust the authorities that its system knows."""
    (tmp_path / "system.pem").write_text(gateway.ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    gateway.says(200, b'{"now": 1}')
    assert joining.ask_time(gateway.url, gateway.ca) == 0.001
    with pytest.raises(NoGateway):
        joining.ask_time(gateway.url, "")


def _parse(text: str) -> None:
    """Parse a token, and check it for a host, where it is one."""
    try:
        made, _ = JoinToken.parse(text)
        made.check("i-00000000000000001", "web-1", URL, NOW)
    except Rejected as error:
        assert str(error)


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters()) | st.binary().map(lambda raw: raw.decode("latin-1")))
@example("sixtykey-join.\ud800")
@example("sixtykey-join.é")
@example("sixtykey-join." + "A" * 100_001)
def test_no_text_is_a_traceback_as_a_token(text: str) -> None:
    """Any text is a token, or is refused."""
    _parse(text)
    _parse("sixtykey-join." + text)
    _parse("sixtykey-join." + base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode())


MEMBERS: Mapping[str, Any] = json.loads(
    documents.unseal(
        base64.urlsafe_b64decode(token().dump(ISSUER).partition(".")[2] + "=="),
        {KIND},
        documents.ANYBODY,
    ).body
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*MEMBERS, "other"]), VALUES), st.booleans())
@example({"names": ["[z-a]", "[!z-a]", "*a" * 50 + "b"]}, False)
@example({"ends_at": HUGE}, False)
def test_no_content_is_a_traceback_as_a_token(changes: dict[str, Any], without: bool) -> None:
    """A token with any content, well signed, is accepted or refused."""
    content = {name: each for name, each in MEMBERS.items() if not (without and name in changes)}
    try:
        sealed = documents.seal(KIND, content if without else {**content, **changes}, ISSUER)
    except (Rejected, ValueError):
        return
    _parse("sixtykey-join." + base64.urlsafe_b64encode(sealed).decode().rstrip("="))


@pytest.mark.parametrize(
    ("url", "text", "words"),
    [
        (URL, "sixtykey-join.\udcff", "copy all that"),
        (URL, "sixtykey-join.", "copy all that"),
        (URL, "", "not a join token"),
        ("https://127.0.0.1:99999", None, "a gateway's URL is"),
        ("https://[", None, "a gateway's URL is"),
        ("http://127.0.0.1", None, "a gateway's URL is"),
    ],
)
def test_a_bad_command_line_is_one_line(tmp_path: Path, url: str, text: Any, words: str) -> None:
    """`fleet join` with a bad token, or a token for a bad URL, fails with one line and code 1."""
    if text is None:
        now = int(time.time() * 1000)
        text = token(url=url, issued_at=now, ends_at=now + 60_000).dump(ISSUER)
    (tmp_path / "config.yaml").write_text(
        "instance: {id: i-00000000000000001, availability_zone: us-east-2b}\n"
    )
    done = run(
        "fleet", "join", url, text, "--name", "web-1",
        "--host-folder", str(tmp_path / "fleet"), "--config", str(tmp_path / "config.yaml"),
    )  # fmt: skip
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("sixtykey: ")
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "fleet").exists()
