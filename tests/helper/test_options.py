"""The helper accepts exactly the options before a key that the daemon may write."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from agent.config.key_policy import KEY_OPTIONS
from tests.parts.key_lines import line
from tests.parts.keys import KeyPair
from tests.parts.leases import make_lease
from tests.parts.stub_lookup import Helper, StubLookup, answering

WORDS = list(KEY_OPTIONS)
PLACES = [
    "192.0.2.7", "0.0.0.0", "255.255.255.255", "2001:db8::7", "::1", "::", "fe80::1:2:3:4",
    "2001:db8:1:2:3:4:5:6", "1:0:1::", "2001:db8:1:2::/64", "2001:db8::/64", "::/64",
]  # fmt: skip
NO_PLACES = [
    "", "192.0.2", "192.0.2.07", "192.0.2.256", "192.0.2.7/32", "192.0.2.0/24", "192.0.2.*", "*",
    "192.0.2.7,10.0.0.1", "!192.0.2.7", " 192.0.2.7", "192.0.2.7 ", "host.example", "3221225991",
    "2001:DB8::7", "2001:db8:0::7", "2001:0db8::7", "2001:db8:0:0:0:0:0:7", "::ffff:192.0.2.7",
    "::ffff:c000:207", "::192.0.2.7", "fe80::1%lo", "2001:db8::7/64", "2001:db8::/63",
    "2001:db8::/064", "2001:db8::/64/", "2001:db8::/128", "2001:db8::/", "/64", "192.0.2.7\0",
    '192.0.2.7"', "192.0.2.7\x7f", "2001:db8::7\n", "1:2:3:4:5:6:7:8:9", ":" * 200, "1." * 100,
]  # fmt: skip


def ask(helper: Helper, folder: Path, lines: list[bytes]) -> tuple[list[bytes], int]:
    """Return the lines that the helper prints, and the number of warnings."""
    with StubLookup(folder, answering(b"".join(lines))) as stub:
        ran = helper.run("--socket", stub.path, "root")
    assert (ran.status, ran.err) == (0, b"")
    return ran.out.splitlines(keepends=True), len(ran.warnings)


def test_hands_out_the_options_that_the_daemon_writes(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """Every option, every pair in the daemon's order and every pinned source is accepted."""
    lists = [
        *([word] for word in WORDS),
        *(list(pair) for pair in itertools.combinations(WORDS, 2)),
        WORDS,
    ]
    places = [f'from="{place}"' for place in PLACES]
    options = [",".join(each) for each in lists] + places
    options += [f"{place},{','.join(each)}" for place in places for each in (WORDS, ["pty"])]
    lines = [each.encode() + b" " + line(keys["ed25519"]) for each in options]
    assert ask(helper, tmp_path, lines) == (lines, 0)


def test_hands_out_the_lines_of_leases(helper: Helper, tmp_path: Path) -> None:
    """Every line that the daemon writes for a lease is accepted."""
    leases = [make_lease(pinned_source=place) for place in (None, *PLACES)]
    leases += [make_lease(options=(word,)) for word in KEY_OPTIONS]
    leases += [make_lease(pinned_source=place, options=KEY_OPTIONS) for place in PLACES]
    lines = [lease.line.encode() for lease in leases]
    assert ask(helper, tmp_path, lines) == (lines, 0)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_the_fingerprint_is_the_keys_whatever_stands_before_it(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair], algorithm: str
) -> None:
    """A key with options is found by its fingerprint, and no other key is printed."""
    mine = b'from="192.0.2.7",restrict,pty ' + line(keys["rsa"])
    others = b"restrict " + line(keys["ed25519"])
    with StubLookup(tmp_path, answering(others + mine)) as stub:
        ran = helper.run("--socket", stub.path, "root", keys["rsa"].fingerprint(algorithm))
    assert (ran.status, ran.out, len(ran.warnings)) == (0, mine, 1)


def test_a_line_with_any_other_option_is_dropped(
    helper: Helper, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """A line with any other option, order, spelling or source is dropped."""
    options = [f'from="{place}"' for place in NO_PLACES]
    options += [f"{one},{other}" for other, one in itertools.combinations(WORDS, 2)]
    options += [f"{word},{word}" for word in WORDS]
    options += [
        'command="id"', 'restrict,command="id"', 'from="192.0.2.7",command="id"', "cert-authority",
        'environment="LD_PRELOAD=/x"', 'expiry-time="20300101"', 'permitopen="*:*"', "tunnel=0",
        "touch-required", "no-touch-required", "verify-required", 'principals="root"',
        "Restrict", "PTY", "x11-forwarding", "no-Pty", "restric", "restrictt", "restrict,", ",pty",
        "restrict,,pty", "restrict, pty", "restrict\tpty", "restrict pty", "restrict\0,pty", "",
        "pty;user-rc", "pty=yes", 'pty,from="192.0.2.7"', 'from="192.0.2.7",', "from=192.0.2.7",
        'from="192.0.2.7', "from='192.0.2.7'", 'from=""', 'from="', "from=", 'FROM="192.0.2.7"',
        'from="192.0.2.7"pty', 'from="192.0.2.7",from="192.0.2.8"', 'from="192.0.2.7,pty"',
    ]  # fmt: skip
    good = line(keys["ed25519"])
    bad = [each.encode() + b" " + good for each in options]
    assert ask(helper, tmp_path, [good, *bad, good]) == ([good, good], 1)
