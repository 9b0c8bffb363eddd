"""agent/sources/api/http_server.py with TLS: the peer's identity, and limits on handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
import time
from typing import Any

import pytest

from agent.config.limits import LIMITS
from agent.config.settings import Tls
from agent.host import tls
from agent.sources.api.message import Request, Response
from tests.parts.certificates import Authority
from tests.parts.raw import PATIENCE, ask
from tests.sources.api.serving import PLAIN, Serving, short, yes

# A TLS version, a command of openssl s_client with it, and its output when it obeys.
COMMANDS = [("-tls1_2", b"R", b"RENEGOTIATING"), ("-tls1_3", b"K", b"KEYUPDATE")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs certificates for servers and clients."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_side(authority: Authority) -> ssl.SSLContext:
    """A server context that requests a client certificate but does not require one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def test_tls_describes_its_client(authority: Authority, server_side: ssl.SSLContext) -> None:
    """The peer has the TLS version, the cipher, and the subject of a verified certificate."""
    with Serving(tls=server_side) as serving:
        for shown, subject in (
            (None, None), (authority.issue("deploy"), "organizationName=Example,commonName=deploy"),
        ):  # fmt: skip
            assert ask(serving.address, PLAIN, tls=authority.trusting(shown)).status == 200
            peer = serving.requests[-1].peer
            assert (peer.certificate, peer.certificate_demanded) == (subject, True)
            assert str(peer.tls).startswith("TLSv1.3 TLS_")


def test_a_client_that_ends_tls_in_order_causes_no_warning(
    authority: Authority, caplog: Any
) -> None:
    """A client's close_notify logs no warning.

    A server without a client CA demands no client certificate.
    """
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


def test_a_refusal_is_seen_over_tls(authority: Authority, server_side: ssl.SSLContext) -> None:
    """The client receives a refusal over TLS before the connection is closed."""
    with Serving(tls=server_side) as serving:
        with serving.connect(tls=authority.trusting()) as raw:
            assert raw.send(b"nonsense\r\n\r\n").answer().code == "BadRequest"
            assert raw.ends()
        assert serving.refused == ["BadRequest"]


def test_plain_text_on_a_tls_port_is_closed_and_counted(server_side: ssl.SSLContext) -> None:
    """A plaintext request to the TLS listener is closed and counted as refused."""
    with Serving(tls=server_side) as serving, serving.connect() as raw:
        with pytest.raises(EOFError):
            raw.send(PLAIN).answer()
        assert serving.requests == []
    assert len(serving.refused) == 1


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["none", "half"])
def test_a_handshake_that_does_not_go_on_gives_way(
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    server_side: ssl.SSLContext,
    sent: bytes,
) -> None:
    """An unfinished handshake gives way to a new connection, and is closed at its deadline."""
    short(monkeypatch, request_seconds=1.0)
    with Serving(tls=server_side) as serving, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(serving.connect()).send(sent) for _ in range(4)]
        assert ask(serving.address, PLAIN, tls=authority.trusting()).status == 200
        assert all(raw.ends() for raw in silent)
    assert serving.refused == ["HandshakeFailed"] * 4


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["none", "half"])
def test_a_client_that_leaves_before_its_handshake_is_counted(
    server_side: ssl.SSLContext, sent: bytes
) -> None:
    """A client that leaves before its handshake ends is counted as a failed handshake."""
    with Serving(tls=server_side) as serving:
        serving.connect().send(sent).close()
        while not serving.refused:
            time.sleep(0.01)
    assert serving.refused == ["HandshakeFailed"]


def test_a_handshake_that_is_too_long_ends(
    monkeypatch: pytest.MonkeyPatch, server_side: ssl.SSLContext
) -> None:
    """A ClientHello that claims 128 KiB is cut off after a quarter of that."""
    short(monkeypatch, request_seconds=60.0)
    record = b"\x16\x03\x01\x40\x00"
    hello = b"\x01\x02\x00\x00\x03\x03".ljust(16384, b"a")
    with Serving(tls=server_side) as serving, serving.connect() as raw:
        raw.send(record + hello + record + b"a" * 16384 + record)
        assert raw.ends()
        raw.close()
        while not serving.refused:
            time.sleep(0.01)
        assert serving.refused == ["HandshakeFailed"]


def test_unfinished_handshakes_are_bounded_and_the_idle_one_gives_way(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, server_side: ssl.SSLContext
) -> None:
    """Unfinished handshakes are limited, as OpenSSL reserves the memory that each one claims."""
    short(monkeypatch, request_seconds=60.0, handshakes=2)
    hello = b"\x16\x03\x01\x01\x00" + b"\x01\x02\x00\x00\x03\x03".ljust(256, b"a")
    with Serving(tls=server_side) as serving, contextlib.ExitStack() as stack:
        claiming = [stack.enter_context(serving.connect()).send(hello) for _ in range(3)]
        assert claiming[0].ends()
        # A valid client displaces the next unfinished handshake, and gets its answer.
        assert ask(serving.address, PLAIN, tls=authority.trusting()).status == 200
        assert claiming[1].ends()
        assert serving.refused == ["HandshakeFailed"] * 2


def test_the_longest_request_is_answered_over_tls(
    authority: Authority, server_side: ssl.SSLContext
) -> None:
    """A request of maximal head and body is answered over TLS, also after pipelined requests."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX: " % LIMITS.body_bytes
    longest = head.ljust(LIMITS.head_bytes - 4, b"x") + b"\r\n\r\n" + b"a" * LIMITS.body_bytes
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = authority.trusting()
        client.maximum_version = maximum
        with Serving(tls=server_side) as serving, serving.connect(tls=client) as raw:
            raw.send(PLAIN * 500 + longest + PLAIN)
            assert [raw.answer().status for _ in range(502)] == [200] * 502
            bodies = [len(request.body) for request in serving.requests]
            assert bodies == [2] * 500 + [LIMITS.body_bytes, 2]
            raw.send(PLAIN[:-2].replace(b"Host", b"Expect: 100-continue\r\nHost"))
            assert raw.head()[0] == 100
            assert raw.send(b"{}").answer().status == 200


def test_a_client_that_closes_tls_after_its_request_is_answered(
    authority: Authority, server_side: ssl.SSLContext
) -> None:
    """A client that sends close_notify after its request still gets the answer."""
    tls = authority.trusting()
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(back, there, server_hostname="localhost")
    with Serving(tls=server_side) as serving, serving.connect() as raw:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                break
            raw.send(there.read())
            back.write(raw.sock.recv(65536))
        client.write(PLAIN + PLAIN[:9])
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()
        # The request is sent in one flight with the end of the handshake.
        raw.send(there.read())
        while data := raw.sock.recv(65536):
            back.write(data)
        assert client.read(65536).startswith(b"HTTP/1.1 200")
        assert len(serving.requests) == 1


def test_tls_that_is_broken_ends(authority: Authority, server_side: ssl.SSLContext) -> None:
    """Bytes that are no TLS record close their connection, and others are still served."""

    async def slowly(request: Request) -> Response:
        await asyncio.sleep(0.2)
        return await yes(request)

    for first in (b"", PLAIN):
        with Serving(slowly, tls=server_side) as serving:
            with serving.connect(tls=authority.trusting()) as raw:
                raw.send(first)
                bare = socket.socket(fileno=raw.sock.detach())
                bare.settimeout(PATIENCE)
                while first and not serving.requests:
                    time.sleep(0.01)
                bare.sendall(b"no record of TLS, certainly")
                with contextlib.suppress(ConnectionResetError):
                    while bare.recv(65536):
                        pass
                bare.close()
            assert ask(serving.address, PLAIN, tls=authority.trusting()).status == 200


@pytest.mark.parametrize(("version", "command", "said"), COMMANDS, ids=["renegotiate", "new keys"])
def test_openssls_own_client_may_change_keys_and_not_negotiate_anew(
    authority: Authority, version: str, command: bytes, said: bytes
) -> None:
    """A TLS 1.3 key update is served, while TLS 1.2 renegotiation is refused."""
    certificate, key = authority.issue("server")
    server = tls.context(Tls(str(certificate), str(key)))
    with Serving(tls=server) as serving:
        host, port = serving.listener.getsockname()
        words = ["openssl", "s_client", version, "-connect", f"{host}:{port}"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            read = iter(client.stdout.readline, b"")
            client.stdin.write(command + b"\n")
            client.stdin.flush()
            assert any(said in line for line in read)
            with contextlib.suppress(BrokenPipeError):
                client.stdin.write(PLAIN)
                client.stdin.flush()
            answered = any(line.startswith(b"HTTP/1.1 200") for line in read)
            client.kill()
        assert answered == (command == b"K")


def test_renewing_tls_closes_what_the_old_files_let_in(
    authority: Authority, server_side: ssl.SSLContext
) -> None:
    """Renewing TLS closes existing connections at once, or after the answer in progress."""
    release = threading.Event()

    async def held(request: Request) -> Response:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return await yes(request)

    async def renew() -> None:
        serving.server.renew_tls(server_side)

    with Serving(held, tls=server_side) as serving, contextlib.ExitStack() as stack:
        busy, half, idle = (
            stack.enter_context(serving.connect(tls=authority.trusting())) for _ in range(3)
        )
        silent = stack.enter_context(serving.connect())
        half.send(b"P")
        busy.send(PLAIN + PLAIN)
        while not serving.requests or not serving.half():
            time.sleep(0.01)
        serving.do(renew())
        assert idle.ends()
        assert silent.ends()
        assert half.answer().code == "ServiceUnavailable"
        release.set()
        answer = busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert busy.ends()
        assert len(serving.requests) == 1
        assert ask(serving.address, PLAIN, tls=authority.trusting()).status == 200
