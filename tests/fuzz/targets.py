"""The fuzz targets: each takes bytes, and may raise only the exceptions that it declares.

A target checks the invariants of accepted input, and catches the errors of refused input.
"""

from __future__ import annotations

import base64
from typing import Callable

from agent.config import file as config_file
from agent.config.document import Problems
from agent.config.limits import LIMITS
from agent.config.settings import KEY_TYPES, Keys
from agent.leases.keys import KeyRejected, PublicKey
from agent.lookup import answers as lookup
from agent.sources.api import authentication, credentials, query, sigv4
from agent.sources.api.actions import SendSSHPublicKey, claimed_os_user
from agent.sources.api.errors import ApiError
from agent.sources.api.message import Peer, Request, Response
from agent.sources.api.routing import route
from agent.sources.api.wire import Wire
from tests.fuzz.fleet import FLEET
from tests.fuzz.sources import SOURCES

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
_SIGNED = (
    b"/?Version=2018-04-02\nhost: a\nx-amz-date: 20270115T080000Z\nauthorization: AWS4-HMAC-SHA256 "
    b"Credential=AKIA/20270115/us-east-2/ec2-instance-connect/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
)
_PRESIGNED = (
    b"/b/?Action=SendSSHPublicKey&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20270115%2F"
    b"us-east-2%2Fec2-instance-connect%2Faws4_request&X-Amz-Date=20270115T080000Z&X-Amz-Expires=60"
    b"&X-Amz-SignedHeaders=host&X-Amz-Signature=" + b"0" * 64 + b"\nhost: a"
)
_ED25519 = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32)))


def wire(data: bytes) -> None:
    """The HTTP shell, with bytes in pieces; the first byte is the size of the pieces."""
    step, data = 1 + data[:1].ljust(1, b"\0")[0], data[1:]
    http = Wire()
    while data:
        size = min(step, http.room)
        http.feed(data[:size])
        data = data[size:]
        while http.ready:
            try:
                message = http.next_message()
            except ApiError as error:
                assert http.send(Response(error.status, {}), close=True)
                return
            if message is None:
                if http.wants_continue:
                    assert http.send_continue()
                break
            assert len(message.body) <= LIMITS.body_bytes
            assert len(message.head.headers) <= LIMITS.header_count
            assert http.send(Response(200, {}))
            if not http.keeps_alive:
                return
            http.go_on()
        assert http.room > 0


def signature(data: bytes) -> None:
    """Target, headers and body in lines, which are routed, read and made a canonical request."""
    target, *lines = data.split(b"\n")
    pairs = [line.partition(b":") for line in lines[:64]]
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
    request = Request(b"POST", target, headers, data[-100:], Peer("127.0.0.1"))
    try:
        route(request)
    except ApiError:
        pass
    try:
        found = authentication.read(request, query.parse(request.query))
        found.check_scope("us-east-2")
        found.check_date(found.signed_at, 900)
        sigv4.check_signature(request, found, "secret")
    except ApiError:
        pass


def body(data: bytes) -> None:
    """The request body, from bytes to a key."""
    claimed_os_user(data)
    for reference in ("2021-03-05", "current"):
        try:
            action = SendSSHPublicKey.parse(data, reference)
            action.check(reference, KEY_TYPES)
            action.public_key(Keys(types=KEY_TYPES))
        except KeyRejected:
            pass
        except ApiError as error:
            assert error.status == 400


def key(data: bytes) -> None:
    """The key parser, with the bytes as a line, and as a blob of each type."""
    blob = base64.b64encode(data).decode()
    for line in (data.decode("utf-8", "surrogateescape"), *(f"{t} {blob}" for t in KEY_TYPES)):
        try:
            parsed = PublicKey.parse(line, Keys(types=KEY_TYPES))
        except KeyRejected:
            continue
        printed = parsed.line("comment")
        assert printed.count("\n") == 1
        again = PublicKey.parse(printed, Keys(types=KEY_TYPES))
        assert (again, again.fingerprint) == (parsed, parsed.fingerprint)


def lookup_line(data: bytes) -> None:
    """The line of a lookup request."""
    try:
        os_user, _ = lookup.parse(data)
    except lookup.Malformed:
        return
    assert 0 < len(os_user.encode("utf-8", "surrogateescape")) <= 255
    assert not set(os_user) & set(" \t\r\n\0")


def configuration(data: bytes) -> None:
    """The configuration file and the credentials file."""
    for parse in (config_file.parse, credentials.parse):
        try:
            parse(data, "file")
        except Problems as problems:
            assert problems.problems


# Each with valid inputs as seeds, so that small changes reach deep code.
TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "wire": (
        wire,
        [
            b"\xff" + _HEAD + b"Content-Length: 2\r\n\r\n{}",
            b"\x05" + _HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}" + _HEAD,
            b"\xff" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ],
    ),
    "signature": (signature, [_SIGNED, _PRESIGNED]),
    "body": (
        body,
        [
            b'{"InstanceId":"i-0f1e2d3c","InstanceOSUser":"a","SSHPublicKey":"ssh-ed25519 '
            + _ED25519 + b' c","AvailabilityZone":"us-east-2b"}',
        ],
    ),
    "key": (key, [b"ssh-ed25519 " + _ED25519 + b" c", base64.b64decode(_ED25519)]),
    "lookup": (lookup_line, [b"root\n", b"root SHA256:" + b"a" * 43 + b"\n"]),
    "configuration": (
        configuration,
        [
            b"instance: {id: auto}\nkeys: {lifetime: 60, types: [ssh-rsa]}\npush:\n"
            b"  http: {address: 127.0.0.1, port: 8060}\n  rate: {total: 200}\njournal: none\n",
            b"- access_key_id: AKIA\n  secret_access_key: an-example-that-nobody-should-use\n"
            b"  expires: 2027-01-01T00:00:00Z\n  keys: {lifetime: 30, options: [restrict, pty]}\n"
            b'  allow: {os_users: ["*"], sources: [10.0.0.0/8], tags: {role: [web]}}\n',
        ],
    ),
    **SOURCES,
    **FLEET,
}  # fmt: skip

_LINE = (
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMK0Y9W5xHsCUTxFbtxgmKknb1b6ELRlmmGNbZxtr1yv "
    b"0f8fad5b-d9cb-469f-a165-70867728950e\n"
)
# The first byte is the size of the pieces, the second chooses a fingerprint; 255 ends a connection.
HELPER_SEEDS = [
    *(b"\xfe" + bytes([which]) + _LINE + b"\n" for which in range(6)),
    b"\x0f\0" + b'from="192.0.2.7",restrict,pty ' + _LINE + b"user-rc " + _LINE + b"\n",
    b"\xfe\1" + b'from="2001:db8::/64" ' + _LINE + b'from="::1",X11-forwarding ' + _LINE + b"\n",
    b"\xfe\0" + _LINE + b"\xff" + _LINE + b"\xff",
    b"\xfe\0" + _LINE + b"\xff" + _LINE + _LINE + b"\n",
]
