"""TLS of the network listener: certificate, key, and the clients' CA."""

from __future__ import annotations

import ssl

from agent.config.document import Problems
from agent.config.settings import Tls


def context(tls: Tls, section: str = "push.http.tls") -> ssl.SSLContext:
    """A server's context: TLS 1.2 and up, with the standard library's choice of ciphers.

    With a client CA, a certificate of another CA fails the handshake; a client without one passes
    it, and gets InvalidClientTokenId over HTTP, a message that it can read.

    Args:
        tls: the files.
        section: their path in the configuration, for messages.
    Raises:
        Problems: files that cannot be read or used; every such file is named.
    """
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    # A renegotiation (TLS 1.2) would cost a signature outside the handshakes' turns.
    made.options |= ssl.OP_NO_RENEGOTIATION
    problems: list[str] = []
    try:
        made.load_cert_chain(tls.certificate, tls.private_key, password="")
    except (OSError, ValueError) as error:
        files = f"{tls.certificate} with {tls.private_key}"
        problems.append(f"{section}: {files}: {_reason(error)}")
    if tls.client_ca is not None:
        made.verify_mode = ssl.CERT_OPTIONAL
        try:
            made.load_verify_locations(tls.client_ca)
        except (OSError, ValueError) as error:
            problems.append(f"{section}.client_ca: {tls.client_ca}: {_reason(error)}")
    if problems:
        raise Problems(problems)
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable as PEM ({error.reason or error})"
    return getattr(error, "strerror", None) or str(error)
