"""A stand-in for EC2's instance metadata: a real HTTP/1.1 server that serves a folder, as IMDSv2.

    python -m tests.parts.metadata FOLDER [--address ADDRESS] [--port PORT]

It serves the folder's current content, so a writer can make it wrong, slow, or that of another
host. A request without a valid token gets no content.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional, Union

from tests.parts.daemon import INSTANCE_ID, ZONE
from tests.parts.ec2_signer import DOMAIN, Ec2Signer
from tests.parts.host import ROOT
from tests.parts.part import Part

TOKEN_SECONDS = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


class MetadataFolder:
    """The content of the metadata. Every change applies from the next request on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "latest" / "meta-data"
        self._data.mkdir(parents=True)
        self._epoch = 0
        self.write("instance-id", INSTANCE_ID)
        self.write("placement/availability-zone", ZONE)
        self.write("services/domain", DOMAIN)
        self.behave()

    def write(self, path: str, content: Union[str, bytes]) -> None:
        """Set an item."""
        file = self._data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.new")
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.rename(file)

    def remove(self, path: str) -> None:
        """Remove an item."""
        (self._data / path).unlink(missing_ok=True)

    def set_keys(self, os_user: str, *blocks: bytes) -> None:
        """Set the blocks of a user's keys; without blocks the item is removed."""
        path = f"managed-ssh-keys/active-keys/{os_user}"
        if blocks:
            self.write(path, b"".join(blocks))
        else:
            self.remove(path)

    def set_signer(
        self, signer: Ec2Signer, *chain: str, answers: Optional[Mapping[str, bytes]] = None
    ) -> None:
        """Show a signer's chain and OCSP answers, by default EC2's own."""
        self.write("managed-ssh-keys/signer-cert", signer.chain(*chain))
        for old in self._data.glob("managed-ssh-keys/signer-ocsp/*"):
            old.unlink()
        for name, answer in (signer.answers() if answers is None else answers).items():
            path = f"managed-ssh-keys/signer-ocsp/{signer.fingerprint(name)}"
            self.write(path, base64.encodebytes(answer))

    def behave(self, **how: Any) -> None:
        """Change how requests are answered; without anything, as they should be.

        `delay`: seconds that each one takes; `status`: of each answer; `drop`: close without one;
        `raw`: send this text in its place.
        """
        (self.folder / "behaviour.new").write_text(json.dumps({**how, "epoch": self._epoch}))
        (self.folder / "behaviour.new").rename(self.folder / "behaviour")

    def forget_tokens(self) -> None:
        """Make all issued tokens invalid."""
        self._epoch += 1
        self.behave()

    def requests(self) -> list[str]:
        """Method and path of every request so far."""
        log = self.folder / "requests"
        return log.read_text().splitlines() if log.exists() else []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: MetadataServer

    def log_message(self, *_: object) -> None:
        """Log nothing to stderr."""

    def do_GET(self) -> None:
        """Return an item, if the token is valid."""
        self._serve(self._item)

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so

    def do_PUT(self) -> None:
        """Issue a token."""
        self._serve(self._token)

    def _serve(self, answer: Any) -> None:
        folder = self.server.folder
        with (folder / "requests").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        how = json.loads((folder / "behaviour").read_text())
        time.sleep(how.get("delay", 0))
        if how.get("drop"):
            self.close_connection = True
            return
        if "raw" in how:
            self.wfile.write(how["raw"].encode("latin-1"))
            self.close_connection = True
            return
        status, body = answer(str(how["epoch"]))
        self.send_response(how.get("status", status))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _token(self, epoch: str) -> tuple[int, bytes]:
        if self.path != "/latest/api/token" or not self.headers.get(TOKEN_SECONDS, "").isdecimal():
            return 400, b""
        return 200, f"{epoch}-{secrets.token_hex(16)}".encode()

    def _item(self, epoch: str) -> tuple[int, bytes]:
        if not self.headers.get(TOKEN, "").startswith(f"{epoch}-"):
            return 401, b"no token"
        parts = [part for part in self.path.split("/") if part]
        path = self.server.folder.joinpath(*parts)
        if not self.path.startswith("/latest/meta-data/") or ".." in parts:
            return 404, b"not found"
        if path.is_dir():
            return 200, "\n".join(sorted(each.name for each in path.iterdir())).encode()
        try:
            return 200, path.read_bytes()
        except OSError:
            return 404, b"not found"


class MetadataServer(Part, ThreadingHTTPServer):
    """Serves a MetadataFolder inside the `with` block, each connection in its own thread."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.folder = folder
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The server's URL."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def begin(self) -> None:
        """Start."""
        self._thread.start()

    def finish(self) -> None:
        """Stop listening; open connections end by themselves."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class MetadataProcess(Part):
    """The same server in a separate process, so that it takes no time from the measuring one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.url = ""

    def begin(self) -> None:
        """Start."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.parts.metadata", str(self._folder)],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise RuntimeError("the metadata service does not start")

    def finish(self) -> None:
        """Stop."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def install_metadata_helper(folder: Path, url: str, roots: Path) -> Path:
    """Install the shell helper, which asks a metadata service itself; return its path."""
    text = (ROOT / "tests" / "parts" / "metadata_helper.sh").read_text("utf-8")
    trusted = folder / "roots.pem"
    trusted.write_bytes(roots.read_bytes())
    helper = folder / "metadata-helper"
    helper.write_text(text.replace("@URL@", url).replace("@ROOTS@", str(trusted)))
    helper.chmod(0o755)
    return helper


def main() -> None:
    """Serve a folder until killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.parts.metadata")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = MetadataServer(options.folder, options.address, options.port)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
