"""Requests to the metadata service: the token, the kept connection, and hostile answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Callable

import pytest

from agent.config.limits import LIMITS
from agent.sources.metadata.http import Answer, Away, Connection
from agent.sources.metadata.imds import Metadata, Place
from tests.parts.clock import ManualClock
from tests.parts.daemon import INSTANCE_ID
from tests.parts.ec2_signer import NAME
from tests.parts.metadata import MetadataServer
from tests.sources.metadata.serving import Service

TOKEN = "PUT /latest/api/token"


def run(
    url: str, course: Callable[[Metadata], Awaitable[None]], clock: ManualClock, seconds: float = 10
) -> None:
    """Run a course of events with one connection."""

    async def connected() -> None:
        connection = Connection(url, seconds)
        try:
            await course(Metadata(connection, clock))
        finally:
            connection.close()
            await asyncio.sleep(0)

    asyncio.run(connected())


def test_one_token_serves_for_hours(ec2: Service) -> None:
    """The token is fetched once, with the longest lifetime, and again before it ends."""

    async def course(metadata: Metadata) -> None:
        for _ in range(3):
            await metadata.keys("alice")
        assert ec2.data.requests().count(TOKEN) == 1
        ec2.clock.advance(LIMITS.metadata_token_seconds - 60)
        await metadata.renew_token(0.0)
        assert ec2.data.requests().count(TOKEN) == 1
        await metadata.renew_token(900.0)
        assert ec2.data.requests().count(TOKEN) == 2

    run(ec2.server.url, course, ec2.clock)


def test_a_token_that_is_refused_is_renewed(ec2: Service) -> None:
    """A refused token is renewed at once; a service that refuses every token counts as away."""

    async def course(metadata: Metadata) -> None:
        ec2.data.set_keys("alice", b"#\n")
        assert await metadata.keys("alice") == Answer(200, b"#\n")
        ec2.data.forget_tokens()
        assert await metadata.keys("alice") == Answer(200, b"#\n")
        assert ec2.data.requests().count(TOKEN) == 2
        ec2.data.behave(status=401)
        with pytest.raises(Away, match="gave no token, but status 401"):
            await metadata.keys("alice")

    run(ec2.server.url, course, ec2.clock)


def test_where_the_instance_is_is_asked_once(ec2: Service) -> None:
    """The instance's place is requested once, and again only on demand."""

    async def course(metadata: Metadata) -> None:
        assert await metadata.place() == Place(INSTANCE_ID, NAME)
        before = len(ec2.data.requests())
        await metadata.place()
        assert len(ec2.data.requests()) == before
        ec2.data.write("instance-id", "i-00000000000000001\n")
        assert (await metadata.place(anew=True)).instance == "i-00000000000000001"

    run(ec2.server.url, course, ec2.clock)


def test_missing_metadata_is_reported(ec2: Service) -> None:
    """Missing keys and certificates are empty answers; a missing domain or a bad id is an error."""

    async def course(metadata: Metadata) -> None:
        assert await metadata.keys("alice") is None
        ec2.data.remove("managed-ssh-keys/signer-cert")
        assert await metadata.chain() == b""
        ec2.data.remove("services/domain")
        with pytest.raises(Away, match="no services/domain/"):
            await metadata.place()
        ec2.data.write("instance-id", "ä")
        with pytest.raises(Away, match="instance-id"):
            await metadata.place()

    run(ec2.server.url, course, ec2.clock)


def test_ocsp_answers_are_found_whatever_their_names(ec2: Service) -> None:
    """OCSP answers are read under any hash as a name, and other names are not read."""

    async def course(metadata: Metadata) -> None:
        assert len(await metadata.ocsp_answers()) == 3
        ec2.data.write("managed-ssh-keys/signer-ocsp/" + "AB" * 32, "QUJD")
        ec2.data.write("managed-ssh-keys/signer-ocsp/" + "cd" * 20, "!")
        ec2.data.write("managed-ssh-keys/signer-ocsp/other", "QUJD")
        answers = await metadata.ocsp_answers()
        assert answers.count(b"ABC") == 1
        assert not any(each.endswith("/other") for each in ec2.data.requests())
        for number in range(30):
            ec2.data.write(f"managed-ssh-keys/signer-ocsp/{number:040}", "QUJD")
        assert len(await metadata.ocsp_answers()) == LIMITS.ocsp_answers

    run(ec2.server.url, course, ec2.clock)


def test_keys_are_read_up_to_a_megabyte(ec2: Service) -> None:
    """Keys are read up to a megabyte, and later requests still work."""

    async def course(metadata: Metadata) -> None:
        ec2.data.set_keys("alice", b"x" * LIMITS.metadata_bytes)
        answer = await metadata.keys("alice")
        assert answer is not None
        assert (len(answer.body), answer.complete) == (LIMITS.metadata_bytes, True)
        ec2.data.set_keys("alice", b"x" * (LIMITS.metadata_bytes + 1))
        answer = await metadata.keys("alice")
        assert answer is not None
        assert (len(answer.body), answer.complete) == (LIMITS.metadata_bytes, False)
        ec2.data.write("managed-ssh-keys/signer-cert", b"x" * (LIMITS.metadata_item_bytes + 1))
        with pytest.raises(Away, match="too long"):
            await metadata.chain()
        assert await metadata.keys("bob") is None

    run(ec2.server.url, course, ec2.clock)


def test_requests_share_one_connection(ec2: Service) -> None:
    """Parallel requests to the metadata service share one connection."""
    with counting(ec2.server) as connections:

        async def course(metadata: Metadata) -> None:
            await asyncio.gather(*(metadata.keys(f"user{number}") for number in range(20)))
            assert len(connections) == 1

        run(ec2.server.url, course, ec2.clock)


@contextmanager
def counting(server: MetadataServer) -> Iterator[list[object]]:
    """The connections that are made to a server."""
    connections: list[object] = []
    accept = server.get_request

    def count() -> tuple[socket.socket, object]:
        connections.append(None)
        return accept()

    server.get_request = count  # type: ignore[method-assign]
    yield connections


def test_a_connection_that_was_closed_meanwhile_is_made_again(ec2: Service) -> None:
    """After a connection was closed without an answer, the next request gets a new one."""
    with scripted([b"", answer(b"one"), b"", answer(b"two")]) as url:

        async def course(metadata: Metadata) -> None:
            del metadata
            connection = Connection(url, 10)
            for text in (b"one", b"two"):
                # The first connection of each pair is closed without an answer.
                with pytest.raises(Away):
                    await connection.request("GET", "/", {}, 100)
                assert await connection.request("GET", "/", {}, 100) == Answer(200, text)
                await asyncio.sleep(0.05)
            connection.close()
            await asyncio.sleep(0)

        run(url, course, ec2.clock)


def test_a_kept_connection_that_ends_is_replaced_within_the_request(ec2: Service) -> None:
    """A kept connection that the service has closed is replaced within the same request."""
    with scripted([answer(b"one"), answer(b"two")]) as url:

        async def course(metadata: Metadata) -> None:
            del metadata
            connection = Connection(url, 10)
            assert await connection.request("GET", "/", {}, 100) == Answer(200, b"one")
            assert await connection.request("GET", "/", {}, 100) == Answer(200, b"two")
            connection.close()
            await asyncio.sleep(0)

        run(url, course, ec2.clock)


def answer(body: bytes) -> bytes:
    """A complete answer that lets the client keep the connection."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def scripted(answers: list[bytes]) -> Iterator[str]:
    """A server that gives one of these answers to each connection, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for each in answers:
                with listener.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(each)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


LIES = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
    "no end of headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * LIMITS.head_bytes * 4,
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "an interim answer only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a partial answer": b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\n1",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("lie", LIES)
def test_whatever_is_no_answer_is_away(ec2: Service, lie: str) -> None:
    """A malformed, partial or redirecting answer counts as no answer."""
    with scripted([answer(b"token"), LIES[lie]]) as url:

        async def course(metadata: Metadata) -> None:
            with pytest.raises(Away):
                await metadata.keys("alice")

        run(url, course, ec2.clock)


def test_an_answer_that_does_not_come_is_waited_for_no_longer(ec2: Service) -> None:
    """A request ends at its timeout, and the next one is sent as usual."""
    ec2.data.behave(delay=0.5)

    async def course(metadata: Metadata) -> None:
        with pytest.raises(Away, match=r"no answer within 0\.1 s"):
            await metadata.keys("alice")
        ec2.data.behave()
        assert await metadata.keys("alice") is None

    run(ec2.server.url, course, ec2.clock, seconds=0.1)


def test_without_a_metadata_service_the_source_is_away(ec2: Service) -> None:
    """A refused connection is reported with the system's reason."""
    url = ec2.server.url
    ec2.server.shutdown()
    ec2.server.server_close()
    ec2.server.shutdown = lambda: None  # type: ignore[method-assign]

    async def course(metadata: Metadata) -> None:
        with pytest.raises(Away, match="refused"):
            await metadata.keys("alice")

    run(url, course, ec2.clock)


def test_the_metadata_is_reached_over_ipv6(ec2: Service) -> None:
    """The metadata service is reached over IPv6 as well."""
    with MetadataServer(ec2.data.folder, "::1") as server:
        assert server.url.startswith("http://[::1]:")

        async def course(metadata: Metadata) -> None:
            assert (await metadata.place()).instance == INSTANCE_ID

        run(server.url, course, ec2.clock)
