"""The compiled helper's size, compiler flags and system calls."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.parts.helper_kinds import FOLDER, SANITIZED, changed, compile_helper
from tests.parts.host import tool
from tests.parts.key_lines import line
from tests.parts.keys import KeyPair
from tests.parts.stub_lookup import SSHD_ENVIRONMENT, Ran, StubLookup, answering

SOURCE = FOLDER / "authorized_keys.c"
NEWEST_GLIBC = (2, 28)
"""What the libraries need that the rpm brings: one program is for all its systems."""


@pytest.fixture(scope="module", name="program")
def _program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as the packages contain it."""
    return compile_helper(tmp_path_factory.mktemp("program") / "authorized-keys", "-s")


@pytest.fixture(scope="module", name="arm")
def _arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same program for arm64, linked with lld, which stores no padding pages in the file."""
    tool("ld.lld", "lld")
    program = tmp_path_factory.mktemp("program") / "authorized-keys"
    return compile_helper(program, "-s", cc="aarch64-linux-gnu-gcc")


def readelf(program: Path, *options: str) -> str:
    """Return readelf's output for a program."""
    command = [tool("readelf", "binutils"), "--wide", *options, str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_source_is_short() -> None:
    """The source is one file of fewer than 400 lines of at most 100 characters."""
    rows = SOURCE.read_text("utf-8").splitlines()
    assert len(rows) < 400
    assert max(map(len, rows)) <= 100


def test_the_source_allocates_nothing_and_formats_nothing_from_outside() -> None:
    """The source allocates no memory, and every format string but warn()'s own is a literal."""
    source = SOURCE.read_text("utf-8")
    calls = set(re.findall(r"\b(\w+)\(", source))
    assert not calls & {
        *("malloc", "calloc", "realloc", "alloca", "strdup", "strndup", "asprintf", "getline"),
        *("strcpy", "strcat", "sprintf", "vsprintf", "gets", "system", "popen", "printf"),
    }  # fmt: skip
    formats = re.findall(r"\b(?:snprintf\([^,]+, [^,]+, |warn\()(\S)", source)
    assert len(formats) > 8
    assert set(formats) == {'"'} | {"c"}  # warn(const char *format, ...) itself


def test_the_program_is_small(program: Path, arm: Path) -> None:
    """The stripped program is smaller than 64 KiB and links only the C library."""
    for each in (program, arm):
        assert each.stat().st_size < 64 * 1024
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", readelf(each, "--dynamic")))
        assert "libc.so.6" in needed
        assert needed <= {"libc.so.6", "ld-linux-aarch64.so.1"}


def test_the_programs_run_on_the_oldest_system(program: Path, arm: Path, tmp_path: Path) -> None:
    """The helper and pam-account need no newer C library than the oldest supported system has."""
    others = [
        compile_helper(tmp_path / f"pam-{cc}", source=FOLDER / "pam_account.c", cc=cc)
        for cc in ("gcc", "aarch64-linux-gnu-gcc")
    ]
    for each in (program, arm, *others):
        found = re.findall(r"GLIBC_(\d+)\.(\d+)", readelf(each, "--version-info"))
        assert found
        assert max((int(major), int(minor)) for major, minor in found) <= NEWEST_GLIBC


def test_the_program_is_hardened(program: Path, arm: Path) -> None:
    """Both programs are position-independent and hardened by the linker and the compiler.

    That is full RELRO, a non-executable stack, FORTIFY and the stack protector.
    """
    for each in (program, arm):
        assert re.search(r"Type:\s+DYN", readelf(each, "--file-header"))
        dynamic, segments = readelf(each, "--dynamic"), readelf(each, "--program-headers")
        assert re.search(r"FLAGS_1.*NOW.*PIE", dynamic)
        assert "TEXTREL" not in dynamic
        assert "GNU_RELRO" in segments
        assert re.search(r"GNU_STACK.* RW ", segments)
        symbols = readelf(each, "--dyn-syms")
        assert "__stack_chk_fail" in symbols
        assert re.search(r"__\w+_chk@", symbols)


def test_the_object_is_compiled_with_control_flow_protection(tmp_path: Path) -> None:
    """The object is compiled with CET on x86-64, and with BTI and PAC on arm64."""
    for cc, note in (("gcc", "IBT, SHSTK"), ("aarch64-linux-gnu-gcc", "BTI, PAC")):
        made = compile_helper(tmp_path / "object.o", "-c", "-no-pie", "-fPIE", cc=cc)
        notes = readelf(made, "--notes")
        assert note in notes


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_compiles_without_a_warning(tmp_path: Path, cc: str) -> None:
    """Both compilers compile the source without warnings, also after a distribution's own flags."""
    compile_helper(tmp_path / "one", cc=cc)
    compile_helper(tmp_path / "two", "-O0", "-U_FORTIFY_SOURCE", cc=cc)


@pytest.mark.parametrize("name", ["authorized_keys", "pam_account"])
def test_the_analyzer_finds_nothing(tmp_path: Path, name: str) -> None:
    """gcc's static analyzer reports no defect.

    Its check for open descriptors is off: the process ends with the function that leaves one open.
    """
    flags = ("-fanalyzer", "-Wno-analyzer-fd-leak")
    compile_helper(tmp_path / "analyzed", *flags, source=FOLDER / f"{name}.c")


def traced(program: Path, folder: Path, stub: StubLookup, *words: str) -> tuple[Ran, list[str]]:
    """Run the program under strace; return the result and the system calls of the process tree."""
    trace = folder / "trace"
    done = subprocess.run(
        [tool("strace", "strace"), "-f", "-s", "200", "-o", str(trace), str(program),
         "--socket", stub.path, *words],
        env=SSHD_ENVIRONMENT, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
        check=False, timeout=60,
    )  # fmt: skip
    calls = [row.split(maxsplit=1)[1] for row in trace.read_text().splitlines()]
    return Ran(done.returncode, done.stdout, done.stderr, []), calls


def test_starts_no_thread_and_opens_nothing_but_two_sockets(
    program: Path, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """After loading, the helper opens only the daemon's and the log's socket, and forks nothing."""
    mine = keys["ed25519"]
    with StubLookup(tmp_path, answering(line(mine) + line(keys["rsa"]))) as stub:
        ran, calls = traced(program, tmp_path, stub, "root", mine.fingerprint())
    assert (ran.status, ran.out, ran.err) == (0, line(mine), b"")
    names = [call.partition("(")[0] for call in calls]
    opened = [call.split('"')[1] for call in calls if call.startswith(("open", "creat"))]
    assert [path for path in opened if not path.endswith(("/ld.so.cache", "/libc.so.6"))] == []
    assert names.count("socket") == 2  # it warns of the other key
    assert [call.split('"')[1] for call in calls if call.startswith("connect")] == [stub.path]
    assert not {"clone", "clone3", "fork", "vfork", "brk"} & set(names[names.index("socket") :])


def test_a_lookup_takes_nine_system_calls(
    program: Path, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A lookup takes nine system calls between the program's start and its exit."""
    with StubLookup(tmp_path, answering(line(keys["ed25519"]))) as stub:
        _, calls = traced(program, tmp_path, stub, "root")
    mine = [call.partition("(")[0] for call in calls]
    mine = mine[mine.index("rt_sigaction") :] if "rt_sigaction" in mine else mine
    assert mine[: mine.index("exit_group")] == [
        "rt_sigaction", "socket", "setsockopt", "connect", "sendto", "setsockopt", "recvfrom",
        "close", "write",
    ]  # fmt: skip


def test_valgrind_finds_nothing(tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """valgrind finds no error in runs with options, both digests and a chained command."""
    source = tmp_path / "source.c"
    source.write_text(changed(".c"), "utf-8")
    program = compile_helper(tmp_path / "helper", "-g", source=source)
    command = [tool("valgrind", "valgrind"), "-q", "--error-exitcode=99", "--leak-check=full",
               "--track-fds=yes", str(program)]  # fmt: skip
    mine = b'from="2001:db8::/64",restrict,pty ' + line(keys["rsa"])
    answer = b"wrong\n\x80 \n" + mine + line(keys["ed25519"])
    with StubLookup(tmp_path, answering(answer)) as stub:
        for words, expected in (
            (["root"], mine + line(keys["ed25519"])),
            (["root", keys["rsa"].fingerprint()], mine),
            (["root", keys["rsa"].fingerprint("md5")], mine),
            (["--chain", "/bin/echo of theirs", "root"], mine + line(keys["ed25519"])),
        ):
            done = subprocess.run(
                [*command, "--socket", stub.path, *words],
                env=SSHD_ENVIRONMENT, cwd=tmp_path, capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(expected)


def test_without_descriptors_it_ends_quietly(tmp_path: Path) -> None:
    """If no socket can be opened, the status is 0 and nothing is printed."""
    program = compile_helper(tmp_path / "static", "-static", "-no-pie", "-fno-PIE")
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 3; exec "$@"', "sh", str(program), "--socket", "/x", "root"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_sanitizers_would_say_something(tmp_path: Path) -> None:
    """The sanitized program, which all tests of the helper also run, ends at a buffer overflow."""
    source = tmp_path / "defect.c"
    text = SOURCE.read_text("utf-8").replace(
        "static uint8_t blob[MOST_BYTES];", "static uint8_t blob[16];"
    )
    source.write_text(text, "utf-8")
    program = compile_helper(tmp_path / "defect", *SANITIZED, "-Wno-error", source=source)
    encoded = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA 0f8fad5b-d9cb-469f-a165-70867728950e\n"
    with StubLookup(tmp_path, answering(encoded)) as stub:
        done = subprocess.run(
            [str(program), "--socket", stub.path, "root"],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode != 0
    assert b"global-buffer-overflow" in done.stderr or b"out of bounds" in done.stderr
