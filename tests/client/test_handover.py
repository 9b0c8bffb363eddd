"""ssh gets the connection as a passed socket, or relayed byte by byte."""

from __future__ import annotations

import array
import os
import socket
import struct
import subprocess
import sys
import threading

import pytest

from tests.parts.host import ROOT

_PROGRAM = """
import _socket, sys
sys.path.insert(0, sys.argv[1])
from agent.client import handover
sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
sock.connect(("127.0.0.1", int(sys.argv[2])))
if handover.wants_socket():
    handover.give(sock.fileno())
else:
    handover.relay(sock)
"""


def start(port: int, **streams: object) -> subprocess.Popen[bytes]:
    """A process that hands over a connection to that port."""
    command = [sys.executable, "-c", _PROGRAM, str(ROOT), str(port)]
    return subprocess.Popen(command, **streams)  # type: ignore[call-overload,no-any-return]


def test_a_socket_is_passed_where_ssh_waits_for_one() -> None:
    """When stdin and stdout are one socket, the connection's descriptor is passed over it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours, theirs = socket.socketpair()
        process = start(server.getsockname()[1], stdin=theirs, stdout=theirs)
        theirs.close()
        connection, _ = server.accept()
        _, messages, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        assert process.wait(30) == 0
        numbers = array.array("i", messages[0][2])
        with socket.socket(fileno=numbers[0]) as passed, connection:
            passed.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        ours.close()


@pytest.mark.parametrize("kind", ["pipes", "two sockets"])
def test_bytes_are_relayed_elsewhere(kind: str) -> None:
    """With pipes or two sockets, all bytes and the ends are relayed in both directions."""
    data = os.urandom(1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                received = b""
                while True:
                    part = connection.recv(1 << 16)
                    if not part:
                        break
                    received += part
                # The near side has ended its input, and still receives the reply.
                connection.sendall(received[::-1])

        thread = threading.Thread(target=echo)
        thread.start()
        port = server.getsockname()[1]
        if kind == "pipes":
            process = start(port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            out = process.communicate(data, timeout=60)[0]
        else:
            (near_in, far_in), (near_out, far_out) = socket.socketpair(), socket.socketpair()
            process = start(port, stdin=far_in, stdout=far_out)
            far_in.close()
            far_out.close()
            near_in.sendall(data)
            near_in.shutdown(socket.SHUT_WR)
            out = b"".join(iter(lambda: near_out.recv(1 << 16), b""))
            near_in.close()
            near_out.close()
        assert process.wait(30) == 0
        thread.join(30)
        assert out == data[::-1]


def test_the_relay_ends_when_the_far_side_does() -> None:
    """The relay ends when the server closes the connection, even if stdin stays open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = start(port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        connection, _ = server.accept()
        connection.sendall(b"last words")
        connection.close()
        assert process.stdout is not None
        assert process.stdout.read() == b"last words"
        assert process.wait(30) == 0
        process.communicate()


def test_a_reset_while_ssh_writes_ends_it_quietly() -> None:
    """A connection that the far side resets ends the relay without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe = subprocess.PIPE
        process = start(server.getsockname()[1], stdin=pipe, stdout=pipe, stderr=pipe)
        connection, _ = server.accept()
        # More than the pipe takes, so that the relay still holds some of it at the reset.
        connection.setblocking(False)
        sent = connection.send(bytes(1 << 20))
        assert process.stdout is not None
        first = process.stdout.read(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        out, err = process.communicate(b"typed meanwhile", timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert 0 < len(first + out) <= sent
