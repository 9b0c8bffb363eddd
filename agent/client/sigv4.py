"""Signs a request with Signature Version 4, without botocore, which takes long to import.

Source: AWS General Reference, Signature Version 4 signing process.
"""

from __future__ import annotations

import hashlib
import hmac
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

ALGORITHM = "AWS4-HMAC-SHA256"


class Credential:
    """An access key. `ends` is in seconds since 1970; None when it does not expire."""

    def __init__(
        self,
        access_key_id: str,
        secret_access_key: str,
        token: str = "",
        ends: Optional[float] = None,
        origin: str = "",
    ) -> None:
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.token = token
        self.ends = ends
        self.origin = origin


def sign(
    credential: Credential,
    scope: tuple[str, str],
    path: str,
    headers: dict[str, str],
    body: bytes,
    now: float,
) -> dict[str, str]:
    """Sign a POST to `path`; returns the given headers and the added ones.

    Args:
        scope: region and service.
        path: exactly as it is sent, without a query.
        headers: with lower-case names; Host among them.
        now: seconds since 1970.
    """
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    signed = {**headers, "x-amz-date": date}
    if credential.token:
        signed["x-amz-security-token"] = credential.token
    names = ";".join(sorted(signed))
    lines = ["POST", path, ""]
    lines += [f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)]
    lines += ["", names, hashlib.sha256(body).hexdigest()]
    parts = (date[:8], *scope, "aws4_request")
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join((ALGORITHM, date, "/".join(parts), canonical))
    key = f"AWS4{credential.secret_access_key}".encode()
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credential.access_key_id}/{'/'.join(parts)}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return signed
