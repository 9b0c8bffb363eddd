"""Every limit and timeout of the user's side, with its unit and its reason.

Plain names and no dataclass: ssh waits for this process, and `dataclasses` takes long to import.
"""

from __future__ import annotations

# The default lifetime of the session's key in the agent (seconds). The client replaces it by
# itself, so a short life costs nothing.
KEY_SECONDS = 3600
# Bounds of `key.lifetime` (seconds): from one login to a day's work.
KEY_SECONDS_LEAST, KEY_SECONDS_MOST = 60, 86_400
# A key with less time left (seconds) is replaced, for later connections.
KEY_RENEW_SECONDS = 600
# A key with less time left (seconds) is not used: a login takes about a second.
KEY_SPARE_SECONDS = 10

# The time limits to connect, with TLS, and for one whole request (seconds). A host answers in
# milliseconds, and a gateway waits 4 s for a host.
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 20.0
# Attempts of one push when the answer is "try again", as in AWS's SDKs. The first pause (seconds)
# doubles each time, unless the answer says how long to wait, up to the longest pause.
PUSH_ATTEMPTS = 3
PUSH_PAUSE_SECONDS = 0.2
PUSH_PAUSE_MOST_SECONDS = 5.0
# The largest answer (bytes). A push's has 200 bytes, a list of 100,000 hosts some 30 MiB.
ANSWER_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 32 * 1024
# Characters shown of an error's message: AWS's longest, for a denied action, have some 400.
MESSAGE_CHARACTERS = 1000
# The most hosts in a gateway's list: twice the largest fleet. A bad gateway could list without end.
HOSTS_MOST = 200_000
# Keys of one host: as many and as long as a gateway takes from it (fleet_limits.py), or one host
# could have every list refused.
HOST_KEYS_MOST, HOST_KEY_CHARACTERS = 32, 4096

# Between two attempts to connect (RFC 8305, section 8), and for all attempts together (seconds).
ATTEMPT_DELAY_SECONDS = 0.25
DIAL_SECONDS = 30.0
# The most addresses of one host that are tried.
ADDRESSES = 16

# The lifetime of EC2's own leases (seconds); EC2's API does not state it.
EC2_LEASE_SECONDS = 60
# A lease with less time left (seconds) is pushed again: sshd asks for the key twice.
LEASE_SPARE_SECONDS = 15

# How long the answer of a gateway or EC2 about its hosts is cached (seconds). A moved address is
# looked up again when it does not answer, and ssh checks the host key.
HOSTS_SECONDS = 300
# A temporary credential is fetched again this long before its end, and at least every hour, so that
# a removed user loses access (seconds).
CREDENTIAL_SPARE_SECONDS = 120
CREDENTIAL_MOST_SECONDS = 3600

# ssh-agent: how long an answer may take (seconds; with `confirm` a person must agree), and how
# large it may be (bytes; OpenSSH's own limit).
AGENT_SECONDS = 10.0
AGENT_BYTES = 256 * 1024
# Show on the terminal what a wait is for after this time (seconds).
PROGRESS_SECONDS = 0.5
# The largest file of the user's that is read (bytes).
FILE_BYTES = 1024 * 1024
# One read of the relay (bytes): twice what OpenSSH reads at once.
RELAY_BYTES = 64 * 1024
