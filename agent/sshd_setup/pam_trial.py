"""A dry run of sshd's account phase, by libpam itself, on a copy of PAM's files.

It runs as a separate program, since it loads the modules that those files name. Standard library
only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Optional

from agent.sshd_setup.sshd import SetupError

# pam_acct_mgmt(3): the user may log in.
SUCCESS = 0
# pam_conv(3): a module's questions cannot be answered here.
_CONV_ERR = 19
# unshare(2): CLONE_NEWNS. mount(2): MS_REC with MS_PRIVATE, and MS_BIND.
_NEW_MOUNTS, _PRIVATE, _BIND = 0x20000, 0x4000 | 0x40000, 0x1000
# Time limit (seconds). A module may ask a directory over the network, and could hang.
_LIMIT = 60
_SOURCES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from agent.sshd_setup.pam_trial import account; print(account(*sys.argv[2:]))"
)


def outcome(folder: str, user: str = "root") -> int:
    """Run sshd's account phase for a user, with the PAM files in a folder.

    Returns the code of pam_acct_mgmt(3): 0 lets the user in. It runs in a process that sshd did not
    start, and that was handed no key.

    Raises:
        SetupError: it cannot be tried, or did not end within a minute.
    """
    command = [sys.executable, "-IS", "-c", _CODE, _SOURCES, folder, user]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SetupError(f"PAM's account phase did not end within {_LIMIT} s") from None
    try:
        return int(done.stdout.split()[-1])
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise SetupError(f"PAM's account phase cannot be tried: {said[0]}") from None


def account(folder: str, user: str) -> int:
    """Call libpam in a new mount namespace, where the folder is mounted over PAM's files.

    pam_start_confdir(3) is no alternative: it searches included files in /etc/pam.d.
    Source: pam_start(3), pam_acct_mgmt(3), mount_namespaces(7).

    Raises:
        OSError: libpam is missing, or this process may not mount.
    """
    _mount(folder, "/etc/pam.d")
    pam = ctypes.CDLL("libpam.so.0")
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, *[ctypes.c_void_p] * 3)

    class Conversation(ctypes.Structure):
        _fields_ = (("function", function), ("data", ctypes.c_void_p))

    conversation = Conversation(function(_silent), None)
    handle = ctypes.c_void_p()
    code = int(
        pam.pam_start(b"sshd", user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    )
    if code == SUCCESS:
        code = int(pam.pam_acct_mgmt(handle, 0))
    # This process ends now, so pam_end(3), which only frees memory, is not needed.
    return code


def _mount(folder: str, at: str) -> None:
    """Mount a folder at another path, for this process only. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    private, bind = ctypes.c_ulong(_PRIVATE), ctypes.c_ulong(_BIND)
    if (
        libc.unshare(_NEW_MOUNTS)
        or libc.mount(None, b"/", None, private, None)
        or libc.mount(os.fsencode(folder), os.fsencode(at), None, bind, None)
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (mount at {at})")


def _silent(_count: int, _asked: Optional[int], _answers: Optional[int], _data: object) -> int:
    return _CONV_ERR
