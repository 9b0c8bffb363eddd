"""A correct push as a plan, and every way to spoil it: the rows of the reference's error table.

Each spoiler says which parts of the plan it touches, so that spoilers of different parts can be
combined: a request that is wrong in two ways gets the error of the earlier row.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from tests.parts.daemon import CREDENTIAL, INSTANCE_ID
from tests.parts.signed import TARGET, Call, Signer, fresh_key, members, presign, sign

_ALLOW = {
    "os_users": ["ec2-user"],
    "instances": [INSTANCE_ID, "i-bbbbbbbb"],
    "sources": ["127.0.0.0/8"],
}
_ELSEWHERE = {**_ALLOW, "sources": ["10.0.0.0/8"]}
CREDENTIALS: list[dict[str, Any]] = [
    CREDENTIAL,
    {**CREDENTIAL, "access_key_id": "AKIATOKEN", "session_token": "to/k+en=="},
    {**CREDENTIAL, "access_key_id": "AKIAOFF", "enabled": False},
    {**CREDENTIAL, "access_key_id": "AKIAOLD", "expires": "2020-01-01T00:00:00Z"},
    {**CREDENTIAL, "access_key_id": "AKIALIMITED", "allow": _ALLOW},
    {**CREDENTIAL, "access_key_id": "AKIAELSEWHERE", "allow": _ELSEWHERE},
    *({**CREDENTIAL, "access_key_id": f"AKIALIKE{number}"} for number in range(10)),
]  # fmt: skip

_HOSTS = itertools.count()


def fresh_source() -> str:
    """A loopback address with no failed attempts, since failures are limited by source."""
    number = next(_HOSTS)
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


@dataclass
class Plan:
    """A request to send; correct until it is spoiled. `age` is the age of its date in seconds."""

    method: str = "POST"
    path: str = "/"
    query: list[str] = field(default_factory=list)
    target: Optional[str] = TARGET
    how: str = "header"
    signer: Signer = field(default_factory=Signer)
    age: float = 0.0
    expires: int = 60
    headers: list[tuple[str, str]] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=members)
    body: Optional[bytes] = None
    after: list[Callable[[Call], Call]] = field(default_factory=list)

    def call(self) -> Call:
        """The request."""
        body = json.dumps(self.members).encode() if self.body is None else self.body
        asked = f"?{'&'.join(self.query)}" if self.query else ""
        call = replace(Call(method=self.method, target=self.path + asked, body=body))
        call = call.without("X-Amz-Target")
        if self.target is not None:
            call = call.plus("X-Amz-Target", self.target)
        for name, value in self.headers:
            call = call.plus(name, value)
        signer = replace(self.signer, at=time.time() - self.age)
        if self.how == "header":
            call = sign(call, signer)
        elif self.how == "query":
            call = presign(call, signer, self.expires)
        for change in self.after:
            call = change(call)
        return call


Spoil = Callable[[Plan], object]


@dataclass(frozen=True)
class Spoiler:
    """One way to be wrong: its row, its error, the parts that it touches, and how it does so."""

    row: int
    code: str
    touches: frozenset[str]
    spoil: Spoil
    name: str

    def __str__(self) -> str:
        return f"{self.row}-{self.code}-{self.name}"


def _set(**values: Any) -> Spoil:
    return lambda plan: plan.__dict__.update(values)


def _ask(*pairs: str) -> Spoil:
    # This happens after signing, because botocore re-encodes the query string.
    def change(call: Call) -> Call:
        return replace(call, target="&".join([call.target, *pairs]).replace("/&", "/?", 1))

    return _then(change)


def _by(**values: Any) -> Spoil:
    return lambda plan: setattr(plan, "signer", replace(plan.signer, **values))


def _with(**values: Any) -> Spoil:
    return lambda plan: plan.members.update(values)


def _lacking(name: str) -> Spoil:
    return lambda plan: plan.members.pop(name, None)


def _then(change: Callable[[Call], Call]) -> Spoil:
    return lambda plan: plan.after.append(change)


def _authorization(pattern: str, instead: str) -> Spoil:
    def change(call: Call) -> Call:
        if "Authorization" not in dict(call.headers):
            return call
        value = call.value("Authorization")
        return call.having("Authorization", re.sub(pattern, instead, value))

    return _then(change)


def _all(*spoils: Spoil) -> Spoil:
    return lambda plan: [spoil(plan) for spoil in spoils]


def _presigned_without(name: str) -> Spoil:
    def change(call: Call) -> Call:
        return replace(call, target=re.sub(rf"X-Amz-{name}=[^&]*&?", "", call.target).rstrip("&"))

    return _all(_set(how="query"), _then(change))


def _dated_twice(call: Call) -> Call:
    return call.plus("X-Amz-Date", "x").plus("X-Amz-Date", "x")


def _rows(row: int, code: str, *ways: tuple[str, str, Spoil]) -> list[Spoiler]:
    return [
        Spoiler(row, code, frozenset(touches.split()), spoil, name) for name, touches, spoil in ways
    ]


SPOILERS = [
    *_rows(
        2, "MissingAction",
        ("GET", "method", _set(method="GET")),
        ("PUT", "method", _set(method="PUT")),
        ("path", "path", _set(path="/push")),
        ("no action", "target", _set(target=None)),
        ("empty target", "target", _set(target="")),
    ),
    *_rows(
        3, "MalformedQueryString",
        ("escape", "version", _ask("Version=%zz")),
        ("half an escape", "version", _ask("Version=%2")),
        ("not UTF-8", "version", _ask("Version=%ff")),
    ),
    *_rows(
        4, "InvalidQueryParameter",
        ("unknown", "unknown", _ask("Colour=red")),
        ("unknown X-Amz", "unknown", _ask("X-Amz-Colour=red")),
        ("a member", "unknown", _ask(f"InstanceId={INSTANCE_ID}")),
        ("repeated", "version", _ask("Version=2018-04-02", "Version=2018-04-02")),
        ("repeated header", "target", _then(lambda call: call.plus("X-Amz-Target", TARGET))),
        ("repeated date", "again", _then(_dated_twice)),
    ),
    *_rows(
        5, "InvalidParameterCombination",
        ("two ways to sign", "auth", _ask("X-Amz-Algorithm=AWS4-HMAC-SHA256")),
        ("presigned and signed", "auth date",
         _all(_set(how="query"), _then(lambda call: call.plus("Authorization", "AWS4 x")))),
        ("target and Action", "target", _ask("Action=SendSerialConsoleSSHPublicKey")),
    ),
    *_rows(
        6, "InvalidAction",
        ("target", "target", _set(target="AWSEC2InstanceConnectService.SendSerialConsoleKey")),
        ("bare target", "target", _set(target="SendSSHPublicKey")),
        ("Action", "target", _all(_set(target=None), _ask("Action=DescribeInstances"))),
        ("operator's", "target", _set(target="Sixtykey.List")),
    ),
    *_rows(7, "InvalidParameterValue", ("version", "version", _ask("Version=2014-11-15"))),
    *_rows(8, "MissingAuthenticationToken", ("unsigned", "auth", _set(how="none"))),
    *_rows(
        9, "IncompleteSignature",
        ("not parsable", "auth", _authorization(".*", "AWS4-HMAC-SHA256 Credential")),
        ("no signature", "auth", _authorization(", Signature=.*", "")),
        ("another algorithm", "auth", _authorization("^AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")),
        ("host unsigned", "auth", _authorization(";host;", ";")),
        ("target unsigned", "auth", _authorization(";x-amz-target", "")),
        ("region", "scope", _by(region="us-west-2")),
        ("service", "scope", _by(service="ec2")),
        ("day", "auth", _authorization(r"/20\d{6}/", "/20200101/")),
        ("terminator", "auth", _authorization("/aws4_request", "/aws3_request")),
        ("bad date", "auth", _then(lambda call: call.having("X-Amz-Date", "yesterday"))),
        ("presigned, no date", "auth date", _presigned_without("Date")),
        ("presigned, no headers", "auth date", _presigned_without("SignedHeaders")),
        ("presigned for ever", "auth date", _set(how="query", expires=604801)),
    ),
    *_rows(
        10, "RequestExpired",
        ("old", "date", _set(age=905)),
        ("ahead", "date", _set(age=-905)),
        ("presigned", "auth date", _set(how="query", expires=2, age=5)),
    ),
    *_rows(11, "InvalidClientTokenId", ("key", "key", _by(key="AKIANOBODY"))),
    *_rows(
        12, "OptInRequired",
        ("disabled", "key", _by(key="AKIAOFF")),
        ("expired", "key", _by(key="AKIAOLD")),
    ),
    *_rows(
        13, "AuthException",
        ("secret", "secret", _by(secret="wrong")),
        ("changed body", "after",
         _then(lambda call: replace(call, body=call.body.replace(b"user", b"uses", 1) + b" "))),
        ("no token", "key token", _by(key="AKIATOKEN")),
        ("wrong token", "key token", _by(key="AKIATOKEN", token="to/k+en=")),
        ("a token too many", "key token", _by(token="to/k+en==")),
        ("unsigned payload", "hash", _set(headers=[("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")])),
    ),
    *_rows(
        15, "ValidationError",
        ("not JSON", "body", _set(body=b"InstanceId=i-0f1e2d3c")),
        ("empty", "body", _set(body=b"")),
        ("not an object", "body", _set(body=b"[]")),
        ("number", "InstanceId", _with(InstanceId=5)),
        ("list", "SSHPublicKey", _with(SSHPublicKey=["ssh-ed25519"])),
        ("twice", "body", _set(body=b'{"InstanceId": "i-0", "InstanceId": "i-0"}')),
    ),
    *_rows(
        16, "MissingParameter",
        *((name, name, _lacking(name)) for name in members()),
        ("null", "InstanceId", _with(InstanceId=None)),
    ),
    *_rows(
        17, "InvalidArgsException",
        ("instance id", "InstanceId", _with(InstanceId="i-0F1E2D3C")),
        ("zone", "AvailabilityZone", _with(AvailabilityZone="us-east-2")),
        ("OS user", "InstanceOSUser", _with(InstanceOSUser="../../etc")),
        ("digits", "InstanceOSUser", _with(InstanceOSUser="1user")),
        ("short key", "SSHPublicKey", _with(SSHPublicKey="ssh-ed25519 AAAA")),
        ("no key", "SSHPublicKey", _with(SSHPublicKey="x" * 300)),
        ("two keys", "SSHPublicKey", _with(SSHPublicKey=f"{fresh_key()}\n{fresh_key()}")),
    ),
    *_rows(18, "NotAuthorized", ("source", "key", _by(key="AKIAELSEWHERE"))),
    *_rows(
        19, "AuthException",
        ("instance", "key InstanceId",
         _all(_by(key="AKIALIMITED"), _with(InstanceId="i-cccccccc"))),
    ),
    *_rows(
        20, "AccessDeniedException",
        ("OS user", "key InstanceOSUser",
         _all(_by(key="AKIALIMITED"), _with(InstanceOSUser="root"))),
        ("denied to all", "InstanceOSUser", _with(InstanceOSUser="denied")),
    ),
    *_rows(
        21, "EC2InstanceNotFoundException",
        ("instance", "InstanceId", _with(InstanceId="i-bbbbbbbb")),
        ("zone", "AvailabilityZone", _with(AvailabilityZone="us-east-2c")),
    ),
]  # fmt: skip


def like(number: int) -> str:
    """One of ten access keys like the plan's: of one key's refusals only twenty have a record."""
    return f"AKIALIKE{number % 10}"


def wrong_push(*spoilers: Spoiler, key: Optional[str] = None) -> bytes:
    """The bytes of a push that is wrong in exactly these ways, by the plan's key or this one."""
    plan = Plan()
    if key is not None:
        plan.signer = replace(plan.signer, key=key)
    for spoiler in spoilers:
        spoiler.spoil(plan)
    return plan.call().raw()


def valid_push(**changes: Any) -> bytes:
    """The bytes of a correct push of a fresh key; `changes` apply to its parameters."""
    plan = Plan()
    plan.members.update(changes)
    return plan.call().raw()
