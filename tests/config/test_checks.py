"""Checks of single values: URLs, addresses and public keys have exactly one valid form."""

from __future__ import annotations

import base64

import pytest

from agent.config import checks

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254", "http://[fd00:ec2::254]", "http://127.0.0.1:8080",
        "http://[::1]:1",
    ],
)  # fmt: skip
def test_a_metadata_service_is_an_address(url: str) -> None:
    """A metadata URL with an IPv4 or bracketed IPv6 address is valid, with or without a port."""
    checks.metadata_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254", "169.254.169.254", "http://", "http:///", "http://metadata",
        "http://localhost", "http://169.254.169.254/", "http://169.254.169.254/latest",
        "http://a@169.254.169.254", "http://169.254.169.254#x", "http://169.254.169.254?x",
        "http://fd00:ec2::254", "http://[169.254.169.254]", "http://[fe80::1%eth0]", "http://[]",
        "http://169.254.169.254:", "http://169.254.169.254:0", "http://169.254.169.254:080",
        "http://169.254.169.254:65536", "http://169.254.169.254:80:80", "http://169.254.43518",
        "http://169.254.169.254\n", "HTTP://169.254.169.254", " http://169.254.169.254",
        "http://169.254.169.254 ", "http://[::1]x", "http://\u0661\u0662\u0667.0.0.1",
    ],
)  # fmt: skip
def test_anything_else_is_no_metadata_service(url: str) -> None:
    """A metadata URL with a name, path, user, query or malformed address is refused."""
    with pytest.raises(ValueError, match=r"^must be http://ADDRESS"):
        checks.metadata_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "tls://bus-1.example:4222", "tls://bus:1", "tls://192.0.2.1:65535", "tls://[2001:db8::1]:1",
        "tls://xn--bcher-kva.example:4222", "tls://1password.example:4222", "nats://127.0.0.1:4222",
        "nats://127.9.9.9:4222", "nats://[::1]:4222",
    ],
)  # fmt: skip
def test_a_server_is_reached_by_tls_or_on_loopback(url: str) -> None:
    """A server's URL is tls:// with host and port, or nats:// with a loopback address."""
    checks.server_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "tls://bus.example", "bus.example:4222", "tls://:4222", "tls://bus.example:0", "tls://",
        "tls://bus.example:65536", "tls://bus.example:4222/", "tls://me:pass@bus.example:4222",
        "http://bus.example:80", "ws://bus.example:80", "tls://bus_1.example:4222", "tls://-a:1",
        "tls://a-:1", "tls://a..b:1", "tls://a.:1", "tls://b\xfccher.example:1", "tls://127.1:1",
        "tls://0x7f.1:1", "tls://256.1.1.1:1", f"tls://{'a' * 64}.example:1", "tls://a:1\n",
        f"tls://{'a.' * 126}aa:1", "tls://2001:db8::1:1", "tls://[bus]:1", "tls:bus:1", "",
    ],
)  # fmt: skip
def test_anything_else_is_no_server(url: str) -> None:
    """A server's URL with a user, a path, no port or an invalid host is refused."""
    with pytest.raises(ValueError, match=r"^must be tls://HOST:PORT"):
        checks.server_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "nats://bus.example:4222", "nats://localhost:4222", "nats://10.0.0.1:4222",
        "nats://0.0.0.0:4222", "nats://[2001:db8::1]:4222", "nats://127.0.0.1.example:4222",
    ],
)  # fmt: skip
def test_without_tls_nothing_leaves_the_host(url: str) -> None:
    """A server's URL without TLS is refused unless it has a loopback address."""
    with pytest.raises(ValueError, match="only for loopback"):
        checks.server_url(url)


def test_an_issuer_is_a_public_key_in_one_spelling() -> None:
    """An issuer is `ed25519:` and 32 bytes in canonical base64."""
    checks.issuer(f"ed25519:{KEY}")


@pytest.mark.parametrize(
    "issuer",
    [
        KEY, f"ED25519:{KEY}", f"ed25519: {KEY}", f"ed25519:{KEY}\n", f"ed25519:{KEY[:-1]}",
        f"ed25519:{KEY[:-2]}9=", "ed25519:", "ed25519:AAAA", f"rsa:{KEY}", f"ed25519:{KEY}{KEY}",
        f"ed25519:{base64.urlsafe_b64encode(bytes([255] * 32)).decode()}", "ed25519:\u00e9",
        f"ed25519:{base64.b64encode(bytes(33)).decode()}", f"ed25519:{KEY[:20]}*{KEY[20:]}",
    ],
)  # fmt: skip
def test_anything_else_is_no_issuer(issuer: str) -> None:
    """An issuer of another length, alphabet or type is refused."""
    with pytest.raises(ValueError, match="must be ed25519: and the base64 of 32 bytes"):
        checks.issuer(issuer)


def test_words_do_not_quote_the_value() -> None:
    """A check's error does not quote the value, which may be a misplaced secret."""
    for check in (
        checks.absolute_path, checks.path_or_none, checks.socket_path, checks.address,
        checks.network, checks.metadata_url, checks.server_url, checks.issuer,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must") as caught:
            check("hush-hush/12")
        assert "hush" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
