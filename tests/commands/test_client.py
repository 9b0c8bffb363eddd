"""A daemon that is away, silent or not a daemon gives an error, a hint and an exit code."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client import quickjson
from agent.client.trouble import AWAY, REFUSED, Trouble, plain
from agent.commands import client
from agent.commands.client import Daemon
from agent.commands.options import Options
from tests.parts.command import run


def at(path: Path) -> Daemon:
    """The daemon at a socket."""
    options = Options()
    options.add("--socket", str(path))
    return Daemon(options)


@contextlib.contextmanager
def answering(path: Path, answer: bytes, *, listen: bool = True) -> Iterator[Daemon]:
    """A server that answers one connection with these bytes, whatever the request."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        if listen:
            listener.listen(1)

        def serve() -> None:
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield at(path)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("command", [["list"], ["status"], ["why", "a"], ["revoke", "a"]])
def test_a_daemon_that_is_away_is_3_with_a_hint(command: list[str]) -> None:
    """Without a daemon at the socket, the exit code is 3, with the path and a hint."""
    done = run(*command, "--socket", "/nonexistent/push.sock")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(
        "sixtykey: the daemon does not answer at /nonexistent/push.sock: No such file"
    )
    assert "systemctl status sixtykeyd" in done.err
    told = run(*command, "--json", "--socket", "/nonexistent/push.sock")
    assert (told.code, told.json["Error"]) == (3, "DaemonAway")


def test_a_socket_without_a_listener_is_an_absent_daemon(directory: Path) -> None:
    """A socket at which nobody listens is reported as a daemon that is away."""
    dead = answering(directory / "dead.sock", b"", listen=False)
    with dead as daemon, pytest.raises(Trouble) as caught:
        daemon.ask("Sixtykey.List")
    assert caught.value.exit_code == AWAY


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"HTTP/1.1 200 OK\r\n\r\n[]", b"\xff" * 99])
def test_a_malformed_answer_is_reported(directory: Path, answer: bytes) -> None:
    """A malformed answer is reported as NoAnswer."""
    path = directory / f"odd{len(answer)}.sock"
    with answering(path, answer) as daemon, pytest.raises(Trouble) as caught:
        daemon.ask("Sixtykey.List")
    assert (caught.value.exit_code, caught.value.code) == (AWAY, "NoAnswer")


def test_a_silent_daemon_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that does not answer in time is reported as away."""
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "silent.sock"))
        listener.listen(1)
        with pytest.raises(Trouble, match=r"does not answer at .* within") as caught:
            at(directory / "silent.sock").ask("Sixtykey.List")
    assert caught.value.exit_code == AWAY


def test_an_error_answer_keeps_its_code(directory: Path) -> None:
    """An error answer's own code and message reach the operator."""
    answer = b'HTTP/1.1 400 Bad Request\r\nX: y\r\n\r\n{"__type": "Odd", "Message": "so it is"}'
    with answering(directory / "no.sock", answer) as daemon, pytest.raises(Trouble) as caught:
        daemon.ask("Sixtykey.List")
    assert (caught.value.exit_code, caught.value.code) == (REFUSED, "Odd")
    assert caught.value.words == "refused, Odd: so it is"


def test_a_wrong_configuration_of_the_command_is_reported(directory: Path) -> None:
    """With --config, every problem of the file is reported, without a traceback."""
    path = directory / "wrong.yaml"
    path.write_text("keys: {lifetime: 61}\npush: {sockt: x}\n")
    done = run("list", "--config", str(path))
    assert done.code == 1
    assert "keys.lifetime" in done.err
    assert "push.sockt: unknown key" in done.err


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_read_as_json_reads_it(value: object) -> None:
    """quickjson reads any JSON value as the module json does."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert quickjson.loads(text) == json.loads(text) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{} {}", '{"a": 1', "nope", '"\n"', '{"a"}'])
def test_an_answer_that_is_not_json_is_refused(text: str) -> None:
    """Text that is not one whole JSON value raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - as json.loads, which says no more
        quickjson.loads(text)


def test_control_characters_are_printed_as_escapes() -> None:
    """Control characters in a text are printed as escape codes."""
    assert plain("a\033[2Jb\r\x07é\n") == "a\\x1b[2Jb\\x0d\\x07é\n"
