"""agent/sources/api/http_server.py with TLS: who is there, and what a handshake may cost."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import Any

import pytest

from tests.parts.certificates import Authority
from tests.parts.raw import ask
from tests.sources.api.serving import PLAIN, Serving, short


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs for servers and clients here."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_side(authority: Authority) -> ssl.SSLContext:
    """A server that asks for a client's certificate and does not insist."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def test_tls_tells_who_it_is(authority: Authority, server_side: ssl.SSLContext) -> None:
    """Version, cipher and the verified certificate's subject, if there is one."""
    with Serving(tls=server_side) as serving:
        for shown, subject in (
            (None, None), (authority.issue("deploy"), "organizationName=Example,commonName=deploy"),
        ):  # fmt: skip
            assert ask(serving.address, PLAIN, tls=authority.trusting(shown)).status == 200
            peer = serving.requests[-1].peer
            assert (peer.certificate, peer.certificate_demanded) == (subject, True)
            assert str(peer.tls).startswith("TLSv1.3 TLS_")


def test_a_client_that_ends_tls_in_order(authority: Authority, caplog: Any) -> None:
    """Its close_notify is nothing to warn about, and a server without a client CA demands none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("server"))
    with Serving(tls=context) as serving:
        raw = serving.connect(tls=authority.trusting())
        assert raw.send(PLAIN).answer().status == 200
        assert isinstance(raw.sock, ssl.SSLSocket)
        raw.sock.unwrap()
        raw.close()
        assert serving.requests[0].peer.certificate_demanded is False
    assert caplog.text == ""


def test_a_refusal_over_tls(authority: Authority, server_side: ssl.SSLContext) -> None:
    """It is seen, and the connection ends."""
    with Serving(tls=server_side) as serving:
        with serving.connect(tls=authority.trusting()) as raw:
            assert raw.send(b"nonsense\r\n\r\n").answer().code == "BadRequest"
            assert raw.ends()
        assert serving.refused == ["BadRequest"]


def test_what_is_not_tls(server_side: ssl.SSLContext) -> None:
    """A plain request to the TLS listener ends in the handshake, and is counted."""
    with Serving(tls=server_side) as serving, serving.connect() as raw:
        with pytest.raises(EOFError):
            raw.send(PLAIN).answer()
        assert serving.requests == []
    assert len(serving.refused) == 1


@pytest.mark.parametrize(
    ("sent", "error"),
    [(b"", "TimeoutError"), (b"\x16\x03\x01\x02\x00\x01\x00", "ConnectionAbortedError")],
)
def test_silent_handshakes(
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    server_side: ssl.SSLContext,
    sent: bytes,
    error: str,
) -> None:
    """They give way like any unfinished connection, and end when their time is over."""
    short(monkeypatch, request_seconds=1.0)
    with Serving(tls=server_side) as serving, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(serving.connect()).send(sent) for _ in range(4)]
        assert ask(serving.address, PLAIN, tls=authority.trusting()).status == 200
        assert all(raw.ends() for raw in silent)
    assert set(serving.refused) == {error}


def test_a_client_that_leaves_without_a_handshake(server_side: ssl.SSLContext) -> None:
    """A port scan costs no handshake, and is counted."""
    with Serving(tls=server_side) as serving:
        serving.connect().close()
        while not serving.refused:
            time.sleep(0.01)
    assert serving.refused == ["ConnectionResetError"]
