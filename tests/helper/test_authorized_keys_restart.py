"""The helper while the daemon is replaced under it: what a restart with socket units looks like."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.parts.keys import make_key
from tests.parts.stub_lookup import Helper

REQUEST_ID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def test_asks_again_when_the_daemon_ended_before_it_read(tmp_path: Path) -> None:
    """Two daemons die between accepting and reading; the third, on the same socket, is asked."""
    key = make_key(tmp_path)
    line = f"{key.type} {key.base64} {REQUEST_ID}\n".encode()
    helper = Helper(tmp_path)
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            # Closing with the request unread is what the kernel does for a process that is killed:
            # the helper sees a reset. Without a request yet, it would see an end of file.
            connection.recv(1, socket.MSG_PEEK)
            connection.close()
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(512))
            connection.sendall(line)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "lookup.sock"))
        listener.listen()
        listener.settimeout(20)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        ran = helper.run("--socket", str(tmp_path / "lookup.sock"), "root")
        thread.join()
    helper.close()
    assert asked == [b"root\n"]
    assert (ran.status, ran.out, ran.err, ran.warnings) == (0, line, b"", [])
