#!/usr/bin/python3 -IS
# -I: neither the environment nor the working directory chooses code; -S: no site-packages, and a
# quicker start. Both in one word, since Linux passes all that follows the interpreter as a single
# argument. The path is absolute, as sshd demands of its command and Debian of its scripts.
"""sshd's AuthorizedKeysCommand: ask sixtykeyd which keys a user may log in with just now."""

# One file, with nothing but what the interpreter is made of, because sshd waits for it at every key
# that a client offers (sshd_config(5), AuthorizedKeysCommand). `socket`, `os`, `re` or `argparse`
# would double its time. It is compiled anew at every start: each line of code costs 5 microseconds
# or more, a docstring as much, a comment nothing; hence many comments, and few lines.
#
# It ends with status 0 whatever happens, for sshd throws away what a failing command printed and
# logs a line at each call; what went wrong is said once, in syslog.

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

# Seconds for all of connecting, asking and reading: sshd has no time limit of its own.
DEADLINE = 1.0
# 128 RSA keys of 8192 bits, the most that one user has by default, are 185 kB.
MOST_BYTES = 1 << 20
# sshd asks for each key offered and once more for the one that it takes: with its MaxAuthTries of 6
# seven calls have to fit into its LoginGraceTime of 120 seconds.
CHAIN_SECONDS = 10.0
# For what a child of the chained command may still have to say when the command itself has ended.
CHAIN_GRACE = 0.2


def ask(path: str, request: bytes) -> bytes:
    """The daemon's whole answer. Raises OSError: it is away, or slow, or does not end."""
    end = time.monotonic() + DEADLINE
    while True:
        answer = b""
        sock = _socket.socket(_socket.AF_UNIX)
        try:
            sock.settimeout(max(end - time.monotonic(), 1e-6))
            sock.connect(path)
            sock.sendall(request)
            while len(answer) < MOST_BYTES:
                sock.settimeout(max(end - time.monotonic(), 1e-6))
                chunk = sock.recv(65536)
                if not chunk:
                    return answer
                answer += chunk
            raise OSError("an answer without end")
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            # The daemon's backlog is full (under a time limit the kernel does not wait for it), or
            # it ended between accepting and reading: the next one has its socket already.
            if time.monotonic() > end:
                raise
            time.sleep(0.005)
        finally:
            sock.close()


def genuine(answer: bytes, fingerprint: str) -> bytes:
    """Its lines that may be handed to sshd: of the daemon's exact form, and of that key only."""
    good = b""
    for line in answer.split(b"\n")[:-1]:
        try:
            name, encoded, request = line.split(b" ")
            blob = binascii.a2b_base64(encoded)
        except ValueError:
            continue
        if (
            name in TYPES
            # a2b_base64() skips what it does not know, and a key has one spelling only.
            and encoded == binascii.b2a_base64(blob, newline=False)
            and blob.startswith(len(name).to_bytes(4, "big") + name)
            and len(request) == 36
            and request.translate(None, b"0123456789abcdef") == b"----" == request[8:24:5]
            and fingerprint in ("", fingerprint_of(blob, fingerprint[:4]))
        ):
            good += line + b"\n"
    return good


def fingerprint_of(blob: bytes, kind: str) -> str:
    """As sshd's %f prints it: `MD5:` and pairs of digits, else `SHA256:` and unpadded base64."""
    # hashlib would load OpenSSL; the interpreter's own modules do for one key. Fedora and
    # Enterprise Linux build without them.
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
    # Nobody can push for such a name, and it might be read as another request: not asked.
    if request.split() != words or not (request.isascii() and request.isprintable()):
        return b""
    if len(request) >= 512:
        return b""
    try:
        answer = ask(path, request.encode() + b"\n")
        good = genuine(answer, "".join(words[1:]))
        if good != answer:
            warn(f"dropped what sixtykeyd does not write from its answer to {request}")
        return good
    except Exception as error:  # noqa: BLE001 - whatever it was, sshd must not see it
        warn(f"no keys for {request}: {path}: {error!r}")
        return b""


def put(data: bytes, where: int = 1) -> None:
    """Write all of it. Raises BrokenPipeError when nobody reads it any more."""
    while data:
        data = data[posix.write(where, data) :]


def warn(message: str, path: str = SYSLOG) -> None:
    """One line to syslog (authpriv.warning), or nothing if that would take time."""
    # syslog(3) waits while the log's socket is full, and a login would wait with it. So: one
    # datagram of our own (RFC 3164 section 4.1), which is sent at once or not at all.
    head = f"<84>{time.strftime('%b %e %T')} sixtykey-authorized-keys[{posix.getpid()}]: "
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.sendto((head + message).encode("ascii", "backslashreplace")[:1024], path)
        finally:
            sock.close()
    except OSError:
        pass


def chain(command: "list[str]") -> bytes:
    """What the command prints, if it ends with status 0. Raises OSError when it does not."""
    from _signal import SIGKILL, SIGPIPE, SIGXFSZ  # type: ignore[import-not-found]
    from select import select

    # What Python has changed, and sshd's own child would not see: two signals, one variable.
    posix.environ.pop(b"LC_CTYPE", None)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    null = (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0)
    pid = posix.posix_spawn(
        command[0],
        command,
        posix.environ,
        file_actions=[null, (posix.POSIX_SPAWN_DUP2, writer, 1)],
        setpgroup=0,
        setsigdef=[SIGPIPE, SIGXFSZ],
    )
    posix.close(writer)
    end = time.monotonic() + CHAIN_SECONDS
    output, chunk, ended, status = b"", b"-", 0, 0
    while chunk or not ended:
        now = time.monotonic()
        if not ended:
            ended, status = posix.waitpid(pid, posix.WNOHANG)
            if ended:
                end = now + CHAIN_GRACE
        elif now > end:
            break  # what it left behind in the background holds the pipe open
        if now > end or len(output) > MOST_BYTES:
            if not ended:
                posix.kill(-pid, SIGKILL)
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
    """The exit status: 0, or 2 for a command line that sshd_config has wrong."""
    words = argv[1:]
    options = {"--socket": SOCKET, "--chain": ""}
    try:
        while words[1:] and words[0] in options:
            options[words[0]] = words[1]
            words = words[2:]
        if words == ["--help"]:
            put(USAGE)
        elif not 1 <= len(words) <= 2 or words[0].startswith("-"):
            put(USAGE, 2)
            return 2
        else:
            put(keys_of(options["--socket"], words))
            command = options["--chain"].split()
            if command:
                put(chain(command + words))
    except BrokenPipeError:
        pass  # sshd has found its key and reads no further
    except BaseException as error:  # noqa: BLE001 - no traceback, no other status
        warn(f"{error!r}: {' '.join(argv)}")
    return 0


if __name__ == "__main__":
    # The interpreter's ordinary end would take longer than all of the above.
    posix._exit(main(sys.argv))  # noqa: SLF001
