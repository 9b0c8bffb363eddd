"""Requests as clients send them, signed by botocore, the oracle for the verifier."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Optional
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.sources.api.message import Peer, Request
from tests.parts.daemon import CREDENTIAL, INSTANCE_ID, REGION, ZONE

TARGET = "AWSEC2InstanceConnectService.SendSSHPublicKey"
SERVICE = "ec2-instance-connect"
CONTENT_TYPE = "application/x-amz-json-1.1"
HOST = "127.0.0.1:8060"
LOOPBACK = Peer("127.0.0.1")


@dataclass(frozen=True)
class Signer:
    """Credential, scope and time of a signature (seconds since the Unix epoch; None: now)."""

    key: str = CREDENTIAL["access_key_id"]
    secret: str = CREDENTIAL["secret_access_key"]
    token: Optional[str] = None
    region: str = REGION
    service: str = SERVICE
    at: Optional[float] = None


@dataclass(frozen=True)
class Call:
    """One HTTP request as it is sent, except for Content-Length, which `raw` adds."""

    method: str = "POST"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = (
        ("Host", HOST),
        ("Content-Type", CONTENT_TYPE),
        ("X-Amz-Target", TARGET),
    )
    body: bytes = b"{}"

    def plus(self, name: str, value: str) -> Call:
        """A copy with this header added, even if there is one of that name."""
        return replace(self, headers=(*self.headers, (name, value)))

    def without(self, name: str) -> Call:
        """A copy without any header of this name."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=kept)

    def having(self, name: str, value: str) -> Call:
        """A copy with this header in place of all others of that name."""
        return self.without(name).plus(name, value)

    def value(self, name: str) -> str:
        """The value of the header of this name."""
        return next(value for key, value in self.headers if key.lower() == name.lower())

    def raw(self) -> bytes:
        """The bytes to send."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body

    def request(self, peer: Peer = LOOPBACK) -> Request:
        """The request as the HTTP shell parses it."""
        headers = tuple(
            (name.lower().encode("latin-1"), value.strip(" \t").encode("latin-1"))
            for name, value in self.headers
        )
        return Request(
            self.method.encode(), self.target.encode("latin-1"), headers, self.body, peer
        )


class _At:
    """Signs at a given time, with a given body hash."""

    moment: datetime
    content: bytes

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self.moment.strftime("%Y%m%dT%H%M%SZ")
        auth: Any = self
        auth._modify_request_before_signing(request)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        auth._inject_signature_to_request(request, auth.signature(text, request))

    def payload(self, _: Any) -> str:
        return hashlib.sha256(self.content).hexdigest()


class _Header(_At, SigV4Auth):  # type: ignore[misc]
    pass


class _Query(_At, SigV4QueryAuth):  # type: ignore[misc]
    # botocore would move the body's members into the query; here the body stays, and is hashed.
    pass


def _prepared(call: Call, signer: Signer, auth: Any) -> AWSRequest:
    at = datetime.now(timezone.utc).timestamp() if signer.at is None else signer.at
    auth.moment, auth.content = datetime.fromtimestamp(at, timezone.utc), call.body
    request = AWSRequest(call.method, f"http://{HOST}{call.target}", data=b"")
    for name, value in call.headers:
        request.headers.add_header(name, value)
    auth.add_auth(request)
    return request


def _credentials(signer: Signer) -> Credentials:
    return Credentials(signer.key, signer.secret, signer.token)


def sign(call: Call, signer: Signer = Signer()) -> Call:
    """Sign with an Authorization header, as boto3 does."""
    request = _prepared(call, signer, _Header(_credentials(signer), signer.service, signer.region))
    return replace(call, headers=tuple(request.headers.items()))


def sign_by_hand(
    call: Call,
    signer: Signer = Signer(),
    signed: tuple[str, ...] = ("host", "x-amz-date", "x-amz-target"),
) -> Call:
    """Sign exactly these headers with an Authorization header; for the target "/".

    Source: AWS General Reference, Signature Version 4 signing process, done step by step.
    """
    at = datetime.now(timezone.utc).timestamp() if signer.at is None else signer.at
    date = datetime.fromtimestamp(at, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    call = call.having("X-Amz-Date", date)
    lines = [call.method, call.target, "", *(f"{name}:{call.value(name)}" for name in signed)]
    lines += ["", ";".join(signed), hashlib.sha256(call.body).hexdigest()]
    scope = (date[:8], signer.region, signer.service, "aws4_request")
    key = f"AWS4{signer.secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope), canonical])
    value = (
        f"AWS4-HMAC-SHA256 Credential={'/'.join((signer.key, *scope))}, "
        f"SignedHeaders={';'.join(signed)}, "
        f"Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"
    )
    return call.plus("Authorization", value)


def presign(
    call: Call,
    signer: Signer = Signer(),
    expires: int = 60,
) -> Call:
    """Put the signature into the query string, as botocore's presigned URLs have it."""
    auth = _Query(_credentials(signer), signer.service, signer.region, expires=expires)
    parts = urlsplit(_prepared(call, signer, auth).url)
    return replace(call, target=f"{parts.path}?{parts.query}")


def fresh_key() -> str:
    """A new Ed25519 public key, as a line with a comment."""
    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{line} somebody@somewhere"


def members(**changes: Any) -> dict[str, Any]:
    """SendSSHPublicKey's parameters, valid except for these changes."""
    return {
        "InstanceId": INSTANCE_ID,
        "InstanceOSUser": "ec2-user",
        "SSHPublicKey": fresh_key(),
        "AvailabilityZone": ZONE,
        **changes,
    }


def push(**changes: Any) -> Call:
    """A push of a new key, not yet signed."""
    return Call(body=json.dumps(members(**changes)).encode())
