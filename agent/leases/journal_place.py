"""Where the journal lies by default: a folder that the daemon alone can enter.

The sockets' folder is root's, so that nobody can exchange a socket that the service manager makes
there. Until 0.1.0 both were one folder, which the daemon's user owned. The packages run this module
as that user before they give the folder to root: standard library only.
"""

from __future__ import annotations

import os
from contextlib import suppress

from agent.config.settings import FORMER_JOURNAL, JOURNAL


def prepare(path: str, default: str = JOURNAL, former: str = FORMER_JOURNAL) -> None:
    """Make the default journal's folder where it is missing, and bring 0.1.0's journal there.

    Any other path is the administrator's, who made its folder. A daemon of 0.1.0 that still runs
    goes on writing to the same two files, for they keep their inodes; and since it finds its
    database moved, it leaves both as they are when it ends (SQLite's databaseIsUnmoved(), pager.c).

    Raises:
        OSError: the folder cannot be made.
    """
    if path != default:
        return
    with suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o700)
    if os.path.lexists(former) and not os.path.lexists(path):
        # The log first: whoever finds a database here finds its log too, also if this is cut off
        # or done twice at the same time.
        for suffix in ("-wal", ""):
            with suppress(OSError):
                os.rename(former + suffix, path + suffix)


if __name__ == "__main__":
    prepare(JOURNAL)
