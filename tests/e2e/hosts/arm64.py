"""Steps: the arm64 packages' programs and libraries run here under qemu's user mode.

No arm64 host is booted: the package's daemon, command and helper work with each other in a
directory.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent import __version__
from tests.e2e.hosts import roots
from tests.e2e.hosts.report import Report, expect
from tests.parts.keys import make_key

QEMU = "qemu-aarch64-static"
# How a package is laid out in a root, without its scripts.
UNPACK = {
    f"sixtykey_{__version__}_arm64.deb": 'dpkg-deb --extract "$1" "$2"',
    f"sixtykey-{__version__}-1.aarch64.rpm":
        'rpm2cpio "$1" | cpio --extract --make-directories --quiet --directory "$2"',
}  # fmt: skip
CONFIG = """\
journal: {work}/journal/leases.db
lookup: {{socket: {work}/lookup.sock, group: root}}
push: {{socket: {work}/push.sock, group: root}}
source: {{socket: {work}/source.sock, group: root}}
"""
# Seconds: it runs under qemu, in parallel with other hosts' steps.
_PATIENCE = 60.0
ELF_ARM64 = b"\x7fELF\x02\x01\x01"


def try_packages(work: Path) -> Report:
    """Try each package in a separate root."""
    report = Report("arm64")
    for number, (package, unpack) in enumerate(UNPACK.items()):
        root = roots.unpack("arm64", work / f"arm64-{number}")
        here = work / f"arm64-work-{number}"
        (here / "journal").mkdir(parents=True, mode=0o700)
        path = str(Path("dist") / package)
        subprocess.run(["sh", "-euc", unpack, "sh", path, str(root)], check=True)
        with suppress(Exception):  # The report has it.
            with report.step(f"{package}: what sshd and PAM run is compiled for arm64") as seen:
                compiled(root, seen)
            with report.step(f"{package}: a push, and the helper's answer, under qemu") as seen:
                pushed_and_answered(root, here, seen)
    return report


def command(root: Path, program: str) -> list[str]:
    """The command by which a program of the root runs here: scripts by the root's Python."""
    path = root / program
    start = [QEMU, "-L", str(root)]
    return [*start, str(path)] if is_program(path) else [*start, f"{root}/usr/bin/python3", "-I",
                                                         str(path)]  # fmt: skip


def is_program(path: Path) -> bool:
    """Whether it is an ELF file for arm64 (elf(5): e_machine is EM_AARCH64, 183)."""
    head = path.read_bytes()[:20]
    return head.startswith(ELF_ARM64) and int.from_bytes(head[18:20], "little") == 183


def compiled(root: Path, seen: list[str]) -> None:
    """Both programs are compiled for arm64, and the Python helper is beside them."""
    library = root / "usr/lib/sixtykey"
    for name in ("authorized-keys", "pam-account"):
        path = library / name
        expect(is_program(path), f"{name} is not compiled for arm64")
        mode = path.stat().st_mode & 0o7777
        expect(mode == 0o755, f"{name} has mode {mode:o}")
        seen.append(f"{name}: {path.stat().st_size} bytes")
    expect((library / "agent/helper/authorized_keys.py").exists(), "no helper in Python")
    sources = [str(p) for p in library.rglob("*.c")]
    expect(not sources, f"sources are shipped: {sources}")
    # Without a daemon, pam-account admits the login and the helper prints nothing.
    for program, words in (("authorized-keys", ["--socket", "/nowhere", "root"]),
                           ("pam-account", ["--socket", "/nowhere/lookup.sock"])):  # fmt: skip
        done = run(command(root, f"usr/lib/sixtykey/{program}"), *words)
        expect((done.returncode, done.stdout) == (0, ""), f"{program}: {done}")


def pushed_and_answered(root: Path, here: Path, seen: list[str]) -> None:
    """The package's daemon, command and helper work together on real sockets."""
    key = make_key(here, "pushed")
    helper = [*command(root, "usr/lib/sixtykey/authorized-keys"), "--socket",
              f"{here}/lookup.sock"]  # fmt: skip
    with daemon(root, here):
        before = run(helper, "deploy")
        expect((before.returncode, before.stdout) == (0, ""), f"before the push: {before}")
        sixtykey = command(root, "usr/bin/sixtykey")
        pushed = run(sixtykey, "push", "--socket", f"{here}/push.sock", "deploy", str(key.public))
        expect(pushed.returncode == 0, f"{pushed}")
        answer = run(helper, "deploy", key.fingerprint())
        expect(answer.stdout.startswith(" ".join(key.line.split()[:2])), f"{answer}")
        other = run(helper, "root", key.fingerprint())
        expect((other.returncode, other.stdout) == (0, ""), f"for another user: {other}")
    seen.append(answer.stdout.strip())


@contextmanager
def daemon(root: Path, here: Path) -> Iterator[None]:
    """The daemon under qemu, serving."""
    config, log = here / "config.yaml", here / "log"
    config.write_text(CONFIG.format(work=here), "utf-8")
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command(root, "usr/sbin/sixtykeyd"), "--config", str(config)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        end = time.monotonic() + _PATIENCE
        while "serving i-" not in log.read_text():
            expect(process.poll() is None and time.monotonic() < end, log.read_text())
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def run(program: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=_PATIENCE,
    )  # fmt: skip
