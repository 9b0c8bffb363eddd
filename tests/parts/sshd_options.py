"""Options on sshd's command line, on a host whose files are below a folder."""

from __future__ import annotations

from pathlib import Path

DROP_IN, DEFAULTS = "etc/systemd/system/ssh.service.d/options.conf", "etc/default/ssh"
RUNNING = "proc/77/cmdline"
BY_OPTION = (DROP_IN, DEFAULTS, RUNNING)


def give_option(root: Path, place: str, option: str) -> Path:
    """Give sshd `-o OPTION` in one of BY_OPTION; return the file."""
    unit = root / "usr/lib/systemd/system/ssh.service"
    texts = {
        DROP_IN: f"[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o {option} $SSHD_OPTS\n",
        DEFAULTS: f'SSHD_OPTS="-o {option}"\n',
        # As sshd names its listener.
        RUNNING: f"sshd: /usr/sbin/sshd -D -o {option} [listener] 0 of 10-100 startups",
    }
    for path, text in (
        (unit, "[Service]\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n"),
        (root / "run/sshd.pid", "77\n"),
        (root / place, texts[place]),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / place
