"""Sends signed requests to a host, a gateway or AWS, and turns their errors into helpful text."""

from __future__ import annotations

import os
import time

from agent import __version__
from agent.client import https, limits, quickjson, utc, web_proxy
from agent.client.refusals import explain_refusal
from agent.client.sigv4 import sign
from agent.client.trouble import AWAY, Trouble
from agent.client.vocabulary import AWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from agent.client.settings import Settings
    from agent.client.sigv4 import Credential

PUSH = "AWSEC2InstanceConnectService.SendSSHPublicKey"
HOSTS = "Sixtykey.Hosts"
EXPLAIN = "Sixtykey.Explain"
_SERVICE = "ec2-instance-connect"
_THROTTLED = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException"})


def url_of(settings: Settings, region: str) -> str:
    """The endpoint's URL. AWS's domain depends on the partition (AWS General Reference)."""
    if settings.endpoint != AWS:
        return settings.endpoint
    other = settings.environ.get("AWS_ENDPOINT_URL")
    if other:
        return other
    if not (region.isascii() and region.replace("-", "").isalnum()):
        # It becomes a part of the name that is asked, and must not end it.
        raise Trouble(AWAY, "Endpoint", f"{region!r} is not an AWS region")
    return f"https://{_SERVICE}.{region}.amazonaws.com" + (".cn" if region[:3] == "cn-" else "")


class Api:
    """One endpoint, used with one credential."""

    def __init__(self, settings: Settings, credential: Credential, region: str) -> None:
        self.url = url_of(settings, region)
        self._address = https.Address(self.url)
        self._address.check_private()
        # Over plain HTTP, to this machine, whoever has the port may answer.
        self.verified = self._address.tls
        self._environ = settings.environ
        self.credential = credential
        self._region = region
        self._ca = settings.get("ca")

    def ask(self, action: str, members: dict[str, Any]) -> dict[str, Any]:
        """Send a request; returns the answer's body. Raises Trouble, which says what to do."""
        body = quickjson.dumps(members).encode()
        proxy, pause = self._proxy(), limits.PUSH_PAUSE_SECONDS
        for attempt in range(1, limits.PUSH_ATTEMPTS + 1):
            headers = self._headers(action, body)
            answer = https.post(self._address, headers, body, self._ca, proxy)
            document = _document(answer)
            if answer.status == 200 and document is not None:
                return document
            code = _code(answer, document)
            if attempt == limits.PUSH_ATTEMPTS or not (answer.status >= 500 or code in _THROTTLED):
                message = str((document or {}).get("Message") or (document or {}).get("message"))
                # One line: a second one could pass for words of ours.
                message = " ".join(message.split())[: limits.MESSAGE_CHARACTERS]
                what = "question" if action == EXPLAIN else "push"
                raise explain_refusal(
                    code, message, _clock_offset(answer), self.credential, self.url, what
                )
            time.sleep(_retry_after(answer) or pause)
            pause = min(pause * 2, limits.PUSH_PAUSE_MOST_SECONDS)
        raise AssertionError("unreachable")

    def _proxy(self) -> Optional[web_proxy.Proxy]:
        # An endpoint on this machine is none that a proxy could reach.
        if self._address.is_local:
            return None
        return web_proxy.of(self._environ, self._address.host, self._address.port)

    def _headers(self, action: str, body: bytes) -> dict[str, str]:
        headers = {
            "host": self._address.authority,
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": action,
            # Without this, two pushes within a second would have the same signature, and the second
            # would count as a replay. The AWS SDKs send it too.
            "amz-sdk-invocation-id": os.urandom(16).hex(),
        }
        scope = (self._region, _SERVICE)
        signed = sign(self.credential, scope, self._address.path, headers, body, time.time())
        return {**signed, "user-agent": f"sixtykey/{__version__}"}


def _document(answer: https.Answer) -> Optional[dict[str, Any]]:
    try:
        found = quickjson.loads(answer.body.decode())
    except (ValueError, RecursionError):
        found = None
    if found is None and answer.status == 200:
        raise Trouble(AWAY, "NoAnswer", "the endpoint is not an EC2 Instance Connect API")
    return found if isinstance(found, dict) else None


def _code(answer: https.Answer, document: Optional[dict[str, Any]]) -> str:
    found = str((document or {}).get("__type") or answer.headers.get("x-amzn-errortype") or "")
    code = found.rpartition("#")[2].partition(":")[0]
    return code if code.isidentifier() and len(code) < 80 else f"HTTP{answer.status}"


def _retry_after(answer: https.Answer) -> float:
    """The wait that the answer asks for, in seconds; 0 when it asks for none."""
    told = answer.headers.get("x-amz-retry-after", "")
    good = told.isascii() and told.isdigit() and len(told) < 10
    return min(int(told) / 1000, limits.PUSH_PAUSE_MOST_SECONDS) if good else 0.0


def _clock_offset(answer: https.Answer) -> Optional[float]:
    """How far this clock is ahead of the answer's, in seconds (RFC 9110, section 6.6.1)."""
    try:
        return time.time() - utc.of_http(answer.headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
