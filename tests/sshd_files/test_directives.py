"""Where a directive of sshd stands: its file, line and Match block."""

from __future__ import annotations

from pathlib import Path

from agent.sshd_files.directives import directives


def test_directives_know_their_place(tmp_path: Path) -> None:
    """Each directive has its file, line and Match block, also from included files."""
    (tmp_path / "more.conf").write_text("Port = 7\nMatch User b\nPort 8\n")
    main = tmp_path / "main"
    main.write_text(f"# c\nMatch User a\nInclude {tmp_path}/*.conf\nPort 9\nMatch all\n Port 10\n")
    ports = [d for d in directives(str(main)) if d.keyword == "port"]
    assert [(d.where.rpartition("/")[2], d.value, d.match) for d in ports] == [
        ("more.conf:1", "7", "Match User a"),
        ("more.conf:3", "8", "Match User b"),
        ("main:4", "9", "Match User a"),
        ("main:6", "10", ""),
    ]


def test_an_include_of_itself_ends(tmp_path: Path) -> None:
    """A file that includes itself is read to sixteen levels, as in sshd."""
    main = tmp_path / "main"
    main.write_text(f"Include {main}\nPort 1\n")
    assert len([d for d in directives(str(main)) if d.keyword == "port"]) == 17
