"""Run on a host: push and look up without pause until standard input closes; then report.

Usage: load.py INSTANCE ZONE. Prints one JSON object: what was acknowledged, what was asked, what of
it was wrong (an acknowledged key that a lookup did not give, a lookup without an answer within its
second), and the slowest answer in seconds.
"""

import json
import subprocess
import sys
import threading
import time

from push import new_key, push  # type: ignore[import-not-found]

HELPER = "/usr/lib/sixtykey/authorized-keys"

# Below the limits of pushes a second and of keys for a user. The lookups leave the daemon some
# processor time.
PUSHERS, LOOKERS, PAUSE, USERS = 3, 6, 0.2, 60
LOOK_PAUSE = 0.05


class Load:
    """The state that the threads share."""

    def __init__(self, instance: str, zone: str) -> None:
        self.instance, self.zone = instance, zone
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.known: list[tuple[str, str, str, float]] = []  # (user, base64, fingerprint, pushed at)
        self.asked = self.unanswered = 0
        self.slowest = 0.0
        self.wrong: list[str] = []

    def push(self, number: int) -> None:
        """Push new keys; a push without an answer was not acknowledged."""
        count = 0
        while not self.ended.is_set():
            count += 1
            user = f"user{(number + count * PUSHERS) % USERS}"
            line, text, fingerprint = new_key()
            at = time.monotonic()
            try:
                status, body = push(self.instance, self.zone, user, line)
            except OSError:
                self.unanswered += 1
            else:
                if status == 200:
                    with self.lock:
                        self.known.append((user, text, fingerprint, at))
                elif body["__type"] not in {"ServiceUnavailable", "ThrottlingException"}:
                    self.wrong.append(f"push for {user}: {status} {body}")
            time.sleep(PAUSE)

    def look(self, number: int) -> None:
        """Look up acknowledged keys."""
        count = number
        while not self.ended.is_set():
            with self.lock:
                known = self.known[-200:]
            if not known:
                time.sleep(0.01)
                continue
            count += 7
            self.check(*known[count % len(known)])
            time.sleep(LOOK_PAUSE)

    def check(self, user: str, text: str, fingerprint: str, at: float) -> None:
        """Look up one acknowledged key, as sshd would."""
        begin = time.monotonic()
        answer = subprocess.run(
            [HELPER, user, fingerprint], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        took = time.monotonic() - begin
        with self.lock:
            self.asked += 1
            self.slowest = max(self.slowest, took)
        if text not in answer and time.monotonic() - at < 58:
            self.wrong.append(f"lookup of {user} {took:.2f} s: {answer!r}")


def main() -> None:
    """Run the load until standard input closes, then look up every key once more."""
    load = Load(*sys.argv[1:3])
    threads = [threading.Thread(target=load.push, args=(n,)) for n in range(PUSHERS)]
    threads += [threading.Thread(target=load.look, args=(n,)) for n in range(LOOKERS)]
    for thread in threads:
        thread.start()
    print("loading", flush=True)
    sys.stdin.read()
    load.ended.set()
    for thread in threads:
        thread.join()
    for known in load.known:
        load.check(*known)
    account = {"acknowledged": len(load.known), "unanswered": load.unanswered, "asked": load.asked}
    print(json.dumps({**account, "slowest": round(load.slowest, 3), "wrong": load.wrong[:5]}))


main()
