"""The journal's default place: a folder that only the daemon can enter.

The sockets' folder belongs to root, so that nobody can exchange a socket that systemd makes there.
In 0.1.0 both were one folder, owned by the daemon's user. On an upgrade the packages run this
module as that user before they give the folder to root. Standard library only.
"""

from __future__ import annotations

import os
from contextlib import suppress

from agent.config.settings import FORMER_JOURNAL, JOURNAL


def prepare(path: str, default: str = JOURNAL, former: str = FORMER_JOURNAL) -> None:
    """Make the default journal's folder if it is missing, and move 0.1.0's journal there.

    Other paths are the administrator's. A running daemon of 0.1.0 goes on writing to the same two
    files, because they keep their inodes; when it ends it leaves both alone, because SQLite notices
    that the database was moved (databaseIsUnmoved(), pager.c).

    Raises:
        OSError: the folder cannot be made.
    """
    if path != default:
        return
    with suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o700)
    if os.path.lexists(former) and not os.path.lexists(path):
        # The log first, so that a database here always has its log, even if this is interrupted or
        # runs twice at the same time.
        for suffix in ("-wal", ""):
            with suppress(OSError):
                os.rename(former + suffix, path + suffix)


if __name__ == "__main__":
    prepare(JOURNAL)
