"""Every limit and timeout of the user's side, with its unit and its reason.

Plain names and no dataclass: ssh waits for this process, and `dataclasses` takes long to import.
"""

from __future__ import annotations

# How long the session's key lives in the agent, by default (seconds). It is made anew by itself, so
# a short life costs nobody anything.
KEY_SECONDS = 3600
# Bounds of `key.lifetime` (seconds): a login has to fit, and a day's work too.
KEY_SECONDS_LEAST, KEY_SECONDS_MOST = 60, 86_400
# A key with less left than this is followed by the next one, for the connections after this one.
KEY_RENEW_SECONDS = 600
# Less than this is too little for a login: sshd's own LoginGraceTime is 120 s, a login takes one.
KEY_SPARE_SECONDS = 10

# One step of a push: to connect, TLS included, and the whole of one request (seconds). A host
# answers in milliseconds, and a gateway waits 4 s for a host.
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 20.0
# Attempts of one push where the answer is "try again", as AWS's SDKs have it; and the pause before
# the second, doubled each time (seconds), unless the answer says how long to wait, up to the most.
PUSH_ATTEMPTS = 3
PUSH_PAUSE_SECONDS = 0.2
PUSH_PAUSE_MOST_SECONDS = 5.0
# An answer (bytes). A push's has 200; a list of 100,000 hosts some 30 MiB.
ANSWER_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 32 * 1024

# RFC 8305, section 8: between two attempts to connect (seconds); and for all of them.
ATTEMPT_DELAY_SECONDS = 0.25
DIAL_SECONDS = 30.0
# Addresses of one host that are tried.
ADDRESSES = 16

# What a lease is used for without another push: EC2's own, which tells neither life nor uses.
EC2_LEASE_SECONDS = 60
# Less left than this is too little for sshd to ask for the key twice (seconds).
LEASE_SPARE_SECONDS = 15

# How long what a gateway or EC2 said of its hosts is believed (seconds): an address that moved is
# asked for again when it does not answer, and a host key is ssh's to check.
HOSTS_SECONDS = 300
# A temporary credential is fetched anew so long before its end, and asked for again at least each
# hour: whoever was removed shall not wait longer (seconds).
CREDENTIAL_SPARE_SECONDS = 120
CREDENTIAL_MOST_SECONDS = 3600

# ssh-agent: how long it may take (seconds; with `confirm` a person has to answer), and how much it
# may say (bytes; OpenSSH's own bound).
AGENT_SECONDS = 10.0
AGENT_BYTES = 256 * 1024
# When a wait is long enough to be told on a terminal (seconds).
PROGRESS_SECONDS = 0.5
# What is read from a file of the user's (bytes).
FILE_BYTES = 1024 * 1024
# One read of the relay (bytes): what OpenSSH reads at once, twice.
RELAY_BYTES = 64 * 1024
