#!/usr/bin/python3 -IS
# -I: no code comes from the environment or the working directory. -S: no site-packages, so that it
# starts faster. Both are one word, since Linux passes everything after the interpreter as a single
# argument. sshd requires an absolute path in a command, and Debian in a script.
"""sshd's AuthorizedKeysCommand: asks sixtykeyd with which keys a user may log in now."""

# One file that imports only built-in modules: sshd waits for it at every key that a client offers
# (sshd_config(5), AuthorizedKeysCommand), and importing `socket`, `os`, `re` or `argparse` would
# double its time. It may be compiled at every start. Then a line of code or a docstring costs 5
# microseconds or more, and a comment nothing.
#
# It always ends with status 0: sshd discards the output of a failing command, and logs a line at
# each call. An error is logged once, to syslog.

import _socket
import binascii
import posix
import sys
import time

USAGE = b"""\
usage: authorized-keys [--socket PATH] [--chain COMMAND] USER [FINGERPRINT]

Prints the keys that USER may log in with just now, as authorized_keys lines; with FINGERPRINT
(SHA256:... or MD5:...) that key only. For sshd_config:
    AuthorizedKeysCommand /usr/lib/sixtykey/authorized-keys %u %f

  --socket PATH    where sixtykeyd answers (default: /run/sixtykey/lookup.sock)
  --chain COMMAND  absolute path and arguments, split at white space, of a command to run after
                   that with the same USER and FINGERPRINT; what it prints is added if it ends
                   with status 0 within 10 seconds
"""
SOCKET = "/run/sixtykey/lookup.sock"
SYSLOG = "/dev/log"
TYPES = b"ssh-ed25519 ssh-rsa ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521".split()

# authorized_keys(5) options without arguments, in the order in which the daemon writes them.
OPTIONS = (
    b"restrict X11-forwarding agent-forwarding no-X11-forwarding no-agent-forwarding"
    b" no-port-forwarding no-pty no-user-rc port-forwarding pty user-rc"
).split()

# Seconds to connect, ask and read, in all: sshd itself has no time limit.
DEADLINE = 1.0
# By default a user has at most 128 keys: RSA keys of 8192 bits take 185 kB.
MOST_BYTES = 1 << 20
# sshd asks for each offered key, and again for the one that it accepts. With MaxAuthTries 6, seven
# calls must fit into LoginGraceTime, 120 seconds.
CHAIN_SECONDS = 10.0
# For output that a child of the chained command writes after the command itself has ended.
CHAIN_GRACE = 0.2
CHAIN_WORDS = 64


def ask(path: str, request: bytes) -> bytes:
    """A line feed and the daemon's answer, with its end mark: an empty line. Raises OSError."""
    end = time.monotonic() + DEADLINE
    last = b""
    while time.monotonic() < end:
        sock = _socket.socket(_socket.AF_UNIX)
        try:
            answer = exchange(sock, path, request, end)
            if b"\n\n" in answer:
                return answer
            # An answer without an end mark is incomplete: the daemon was killed. But sixtykeyd
            # 0.1.0 writes no mark, and may still run during an upgrade: accept whole lines, or
            # none, when the same answer comes twice.
            if answer == last and answer.endswith(b"\n"):
                warn(f"{path}: no end mark: is sixtykeyd older than this helper?")
                return answer + b"\n"
            last = answer
        except (BlockingIOError, BrokenPipeError, ConnectionResetError, _socket.timeout):
            # The backlog is full (with a time limit, the kernel does not wait), or the daemon ended
            # before it read: systemd keeps the socket for the next one.
            pass
        finally:
            sock.close()
        time.sleep(0.005)
    raise OSError("no whole answer within a second")


def exchange(sock: _socket.socket, path: str, request: bytes, end: float) -> bytes:
    """A line feed and the answer, up to its end mark or the end. Raises OSError, timeout."""
    answer, chunk = b"\n", b"-"
    sock.settimeout(max(end - time.monotonic(), 1e-6))
    sock.connect(path)
    sock.sendall(request)
    while chunk and b"\n\n" not in answer:
        if len(answer) > MOST_BYTES:
            raise OSError("an answer without end")
        if time.monotonic() > end:
            raise _socket.timeout
        sock.settimeout(max(end - time.monotonic(), 1e-6))
        chunk = sock.recv(min(65536, MOST_BYTES + 1 - len(answer)))
        answer += chunk
    return answer


def genuine(line: bytes, fingerprint: str) -> bool:
    """Whether sshd may get this line: it has the daemon's exact form, and is for that key."""
    try:
        *options, name, encoded, request = line.split(b" ")
        blob = binascii.a2b_base64(encoded)
        return (
            name in TYPES
            # a2b_base64() skips unknown characters: accept only the canonical spelling.
            and encoded == binascii.b2a_base64(blob, newline=False)
            and blob.startswith(len(name).to_bytes(4, "big") + name)
            and len(request) == 36
            and request.translate(None, b"0123456789abcdef") == b"----" == request[8:24:5]
            and fingerprint in ("", fingerprint_of(blob, fingerprint[:4]))
            and (not options or (len(options) == 1 and permitted(options[0])))
        )
    except (ValueError, OSError):
        return False


def permitted(options: bytes) -> bool:
    """Whether the options have the daemon's form: from="ADDRESS", then words of the fixed list.

    Raises ValueError or OSError: it is not an address.
    """
    words = options.split(b",")
    if words[0].startswith(b'from="'):
        quoted = words.pop(0)[6:].decode("ascii")
        address = quoted.partition("/")[0].rstrip('"')
        family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
        packed = _socket.inet_pton(family, address)
        # Only the canonical form. The daemon writes IPv4-mapped addresses as IPv4. sshd refuses a
        # network whose host bits are set.
        if _socket.inet_ntop(family, packed) != address or (":" in address and "." in address):
            return False
        network = ":" in address and packed[8:] == bytes(8)
        if quoted != address + '"' and not (network and quoted == address + '/64"'):
            return False
    return words == [word for word in OPTIONS if word in words]


def fingerprint_of(blob: bytes, kind: str) -> str:
    """As sshd's %f prints it: `MD5:` and pairs of digits, else `SHA256:` and unpadded base64."""
    # hashlib loads OpenSSL, which takes long; the interpreter's own modules suffice. Fedora and
    # Enterprise Linux build Python without them.
    name = "md5" if kind == "MD5:" else "sha256"
    own = "_sha2" if kind != "MD5:" and sys.version_info >= (3, 12) else "_" + name
    try:
        digest = getattr(__import__(own), name)(blob).digest()
    except ImportError:
        digest = __import__("hashlib").new(name, blob, usedforsecurity=False).digest()
    if kind == "MD5:":
        return kind + str(digest.hex(":"))
    return "SHA256:" + binascii.b2a_base64(digest).decode().rstrip("=\n")


def keys_of(path: str, words: "list[str]") -> bytes:
    """The authorized_keys lines for USER [FINGERPRINT]; none, whatever goes wrong."""
    request = " ".join(words)
    # No push can name such a user, and the daemon could misread the request: do not ask.
    if request.split() != words or not (request.isascii() and request.isprintable()):
        return b""
    if len(request) >= 512:
        return b""
    try:
        answer, _, more = ask(path, request.encode() + b"\n").partition(b"\n\n")
        lines = answer.split(b"\n")[1:]
        good = [line for line in lines if genuine(line, "".join(words[1:]))]
        if more or good != lines:
            warn(f"dropped what sixtykeyd does not write from its answer to {request}")
        return b"".join(line + b"\n" for line in good)
    except Exception as error:  # noqa: BLE001 - whatever it was, sshd must not see it
        warn(f"no keys for {request}: {path}: {reason(error)}")
        return b""


def put(data: bytes, where: int = 1) -> None:
    """Write all of it. Raises BrokenPipeError when nobody reads it any more."""
    while data:
        data = data[posix.write(where, data) :]


def warn(message: str, path: str = SYSLOG) -> None:
    """One line to syslog (authpriv.warning), or nothing if that would take time."""
    # syslog(3) waits while the log's socket is full, and a login would wait with it. So send one
    # datagram directly (RFC 3164), or none. It has no time: syslog adds it, and the local time zone
    # would have to be read from a file.
    head = b"<84>sixtykey-authorized-keys[%d]: " % posix.getpid()
    text = message.encode("utf-8", "replace")
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.sendto(head + bytes(b if 31 < b < 127 else 63 for b in text[:900]), path)
        finally:
            sock.close()
    except OSError:
        pass


def reason(error: BaseException) -> "object":
    """What failed: the C library's text for a failed system call, else the error."""
    return getattr(error, "strerror", None) or error


def spawn(command: "list[str]") -> "tuple[int, int]":
    """Start a command that leads a new process group; returns its pid and its output's pipe."""
    import _signal  # type: ignore[import-not-found]

    # Undo what Python changes and sshd's own child would not see: two signals, one variable. If
    # SIGCHLD is ignored, waitpid gets no status.
    posix.environ.pop(b"LC_CTYPE", None)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    null = (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0)
    pid = posix.posix_spawn(
        command[0],
        command,
        posix.environ,
        file_actions=[null, (posix.POSIX_SPAWN_DUP2, writer, 1)],
        setpgroup=0,
        setsigdef=[_signal.SIGPIPE, _signal.SIGXFSZ],
    )
    posix.close(writer)
    return pid, reader


def chain(command: "list[str]") -> bytes:
    """What the command prints, if it ends with status 0. Raises OSError when it does not."""
    from select import select

    pid, reader = spawn(command)
    end = time.monotonic() + CHAIN_SECONDS
    output, chunk, ended, status = b"", b"-", 0, 0
    while chunk or not ended:
        now = time.monotonic()
        if not ended:
            ended, status = posix.waitpid(pid, posix.WNOHANG)
            if ended:
                end = now + CHAIN_GRACE
        elif now > end:
            break  # a background process of the command holds the pipe open
        if now > end or len(output) > MOST_BYTES:
            if not ended:
                posix.kill(-pid, 9)  # SIGKILL
            raise OSError("the chained command takes too long or prints too much")
        if not chunk:
            time.sleep(0.001)
        elif select([reader], [], [], 0.01)[0]:
            chunk = posix.read(reader, 65536)
            output += chunk
    if status:
        raise OSError(f"the chained command failed: {posix.waitstatus_to_exitcode(status)}")
    return output


def main(argv: "list[str]") -> int:
    """Run the helper; returns the exit status: 0, or 2 for a wrong line in sshd_config."""
    words = argv[1:]
    options = {"--socket": SOCKET, "--chain": ""}
    while words[1:] and words[0] in options:
        options[words[0]] = words[1]
        words = words[2:]
    command = options["--chain"].split()
    try:
        if words == ["--help"]:
            put(USAGE)
        elif not 1 <= len(words) <= 2 or words[0].startswith("-"):
            put(USAGE, 2)
            return 2
        else:
            put(keys_of(options["--socket"], words))
            if len(command) > CHAIN_WORDS:
                raise OSError("the chained command has too many words")
            if command:
                put(chain(command + words))
    except BrokenPipeError:
        pass  # sshd has found its key, and stopped reading
    except BaseException as error:  # noqa: BLE001 - no traceback, no other status
        warn(f"{command[0] if command else 'authorized-keys'}: {reason(error)}")
    return 0


if __name__ == "__main__":
    # The interpreter's normal exit would take longer than everything above.
    posix._exit(main(sys.argv))  # noqa: SLF001
