"""Connections through a connection: ssh -J, and what an editor's remote extension does."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.parts.host import IS_ROOT, free_port, os_user, tool
from tests.parts.world import World, good

# A web server on the host's loopback, as an editor's server is. It prints its port, and
# ends after two requests, or when none comes for a minute.
SERVER = """\
exec python3 - <<'END'
import http.server

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the editor's server")

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
print("listening on", server.server_port, flush=True)
server.timeout = 60
server.handle_request()
server.handle_request()
END
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root's sshd lets two users in")
def test_ssh_j_works_as_documented(world: World) -> None:
    """With ssh -J, which ignores the far host's ProxyCommand, `proxy --push-only` pushes first."""
    port = str(world.sshd.port)
    # Another name of the host, whose address is the near host's own loopback.
    name = "web-2" if world.stage.gateway is None else world.daemon.instance_id
    far = ("-o", "HostName=127.0.0.1", "-o", f"UserKnownHostsFile={world.sshd.known_hosts}")
    with os_user() as other:
        words = ("-J", f"{world.place}:{port}", *far, f"{other}@{name}", "id -un")
        assert "Permission denied" in world.user.ssh(*words).err
        good(world.user.sixtykey("proxy", "--push-only", other, name, port))
        assert good(world.user.ssh(*words)).out == f"{other}\n"
    assert world.pushes() == 3


@contextlib.contextmanager
def remote_shell(world: World, socks: int, script: str) -> Iterator[subprocess.Popen[str]]:
    """`ssh -T -D PORT HOST bash`, as VS Code's Remote - SSH runs it, with the script as its input.

    Source: that extension's log, "Spawned ... ssh -T -D PORT HOST bash".
    """
    command = [tool("ssh", "openssh-client"), "-F", str(world.user.config), "-T", "-D", str(socks)]
    shell = subprocess.Popen(
        [*command, "-o", "ConnectTimeout=15", world.place, "bash"], env=world.user.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert shell.stdin is not None
        with shell.stdin:
            shell.stdin.write(script)
        yield shell
    finally:
        if shell.poll() is None:
            shell.kill()
        shell.wait(60)
        assert shell.stdout is not None
        shell.stdout.close()


def test_an_editor_reaches_its_server_through_the_connection(world: World) -> None:
    """An editor starts its server by one connection, and reaches it through that one's SOCKS port.

    A second window makes a connection of its own meanwhile.
    """
    socks = free_port()
    with remote_shell(world, socks, SERVER) as first:
        assert first.stdout is not None
        port = first.stdout.readline().removeprefix("listening on ").strip()
        asked = (
            tool("curl", "curl"), "-sS", "--socks5-hostname", f"127.0.0.1:{socks}",
            f"http://127.0.0.1:{port}/",
        )  # fmt: skip
        assert good(world.user.do(*asked)).out == "the editor's server"
        with remote_shell(world, free_port(), "id -un\n") as second:
            assert second.stdout is not None
            assert second.stdout.read() == f"{world.login}\n"
            assert second.wait(60) == 0
        assert good(world.user.do(*asked)).out == "the editor's server"
        assert first.wait(60) == 0
    assert world.pushes() == 2
