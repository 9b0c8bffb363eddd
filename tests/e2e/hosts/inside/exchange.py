"""Run on a host as the daemon's user, outside of its sandbox: replace a socket by another file.

systemd makes its sockets, and sets their owner and mode, by path. A user who can put a link there
in between chooses the file that is changed. Prints a word for each thing that it could do.
"""

import os
from typing import Any, Callable

FOLDER = "/run/sixtykey"
SOCKET = FOLDER + "/lookup.sock"

TRIES: "dict[str, Callable[[], Any]]" = {
    "create-file": lambda: os.open(FOLDER + "/x", os.O_WRONLY | os.O_CREAT),
    "create-link": lambda: os.symlink("/etc/shadow", FOLDER + "/x"),
    "create-folder": lambda: os.mkdir(FOLDER + "/x"),
    "remove-socket": lambda: os.unlink(SOCKET),
    "rename-socket": lambda: os.rename(SOCKET, FOLDER + "/journal/lookup.sock"),
    "replace-socket": lambda: os.rename(FOLDER + "/journal/leases.db", SOCKET),
    "link-socket": lambda: os.link(SOCKET, FOLDER + "/journal/lookup.sock"),
    "give-socket-away": lambda: os.chmod(SOCKET, 0o600),
    "remove-journals-folder": lambda: os.rename(FOLDER + "/journal", FOLDER + "/x"),
    "open-folder": lambda: os.chmod(FOLDER, 0o700),
    "rename-folder": lambda: os.rename(FOLDER, "/run/x"),
}

for name, attempt in TRIES.items():
    try:
        attempt()
    except PermissionError:
        continue
    print(name)
