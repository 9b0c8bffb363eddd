"""Every limit and timeout that is not the administrator's to set, with its unit and its reason."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Sizes are in bytes and times in seconds, unless the comment says otherwise."""

    # One request, from its first byte to its last; a connection's first request includes the TLS
    # handshake. An honest push is one packet; a slow link needs seconds.
    request_seconds: float = 10.0
    # Between two requests of a connection: as long as clients keep one in their pools.
    idle_seconds: float = 30.0
    # Request line and headers together. A session token alone may take 4 KiB of it.
    head_bytes: int = 16 * 1024
    # Header lines of one request; SDKs send 8 to 15.
    header_count: int = 64
    # Body. The largest honest one is below 6 KiB.
    body_bytes: int = 16 * 1024
    # Open HTTP connections, over all sources and from one (IPv6: from one /64, or from one uid).
    connections: int = 512
    connections_per_source: int = 64
    # What a client may send in a TLS handshake: its hello (2 KiB with post-quantum keys) and a
    # chain of certificates (2 KiB each with RSA of 4096 bits).
    handshake_bytes: int = 16 * 1024
    # Unfinished TLS handshakes at one time. OpenSSL sets aside what a message claims to be, up to
    # 128 KiB: 180 KiB for each handshake, 17 MiB for all. An honest one takes milliseconds.
    handshakes: int = 96
    # The kernel's buffer for one network connection, each way (it reserves twice that): room for
    # the longest request, and not the megabytes of the default.
    kernel_bytes: int = 32 * 1024
    # After a refusal, how long to keep reading, so that the client gets to see the reason.
    linger_seconds: float = 1.0
    # Pause after accept() failed because no descriptor was left.
    accept_retry_seconds: float = 0.1
    # Connections that wait in the kernel to be accepted: more than a crowd opens at once, because a
    # client that finds the queue full tries again only after a second.
    backlog: int = 1024
    # How long a request waits for those before it, if the journal's disk hangs.
    queue_seconds: float = 5.0

    # SigV4: how far a request's date may be off, either way (API reference, RequestExpired).
    clock_skew_seconds: int = 15 * 60
    # Accepted pushes that are remembered against replay. One principal gets half at most, and needs
    # less at the default rate: 20 a second for the 30 minutes that one may be valid are 36,000.
    remembered_marks: int = 100_000
    # Marks that are read from the journal at once, between two turns of the event loop.
    marks_at_once: int = 500
    # A daemon that finds no journal assumes that its predecessor ended at least this long ago.
    restart_seconds: float = 1.0
    # Failed authentications of one source: a burst, then one a second; further ones are refused.
    failures_burst: int = 10
    failures_per_second: float = 1.0
    # Sources whose failures are counted; beyond it the one seen longest ago is forgotten.
    failure_sources: int = 10_000

    # EC2's metadata, all that one user's keys may take, and one block of them. An honest block has
    # below 2 KiB; 128 keys, the most that one user has here by default, are a quarter of it.
    metadata_bytes: int = 1024 * 1024
    metadata_block_bytes: int = 16 * 1024
    # Blocks that are checked. Checking this many signatures takes a tenth of a second.
    metadata_blocks: int = 2048
    # Whatever EC2 says, a key lives this long from when it was seen first.
    metadata_key_seconds: float = 60.0
    # How far beyond that EC2's expiry time of a key may be: the clock difference that SigV4 allows.
    metadata_ahead_seconds: float = 15 * 60.0
    # Blocks whose end is remembered, so that none lives twice; for the time that SigV4 allows.
    metadata_seen: int = 10_000
    # Certificates in the signer's chain. EC2 sends four.
    certificates: int = 8
    # How far ahead of this host's clock an OCSP answer may have been made.
    ocsp_skew_seconds: float = 60.0

    # Any other item of the metadata; the largest, a chain of certificates, has 8 KiB.
    metadata_item_bytes: int = 64 * 1024
    # One request to it, as AWS's own scripts have it; an honest one takes 1 to 5 ms.
    metadata_seconds: float = 1.0
    # How long IMDSv2 is asked to let a token live: the longest that it allows.
    metadata_token_seconds: int = 21_600
    # After the signer's certificate was refused, or a signature did not verify: how long to wait
    # before it is fetched again. Once more for each push would be a flood of requests.
    signer_retry_seconds: float = 5.0
    # How long a signer that was found good is believed before EC2 is asked again whether it was
    # revoked or changed: its OCSP answers are good for days.
    signer_recheck_seconds: float = 3600.0
    # Refused blocks that one answer reports; from EC2 there is hardly ever one.
    metadata_refusals: int = 16
    # OCSP answers that are fetched; EC2 has three.
    ocsp_answers: int = 16

    # How long before their expiry a token and a signer are fetched again: no login should wait.
    metadata_ahead_of_end_seconds: float = 15 * 60.0
    # How often the metadata service is looked at while it can be asked; and while it cannot, each
    # time twice as long, from the first to the last: no login waits for that, and none gets a key.
    metadata_watch_seconds: float = 60.0
    metadata_retry_seconds: float = 1.0
    metadata_longest_retry_seconds: float = 5.0

    # The source socket: a source says who it is within this time, or is disconnected.
    hello_seconds: float = 5.0
    # Connections to it: two sources, their replacements during a restart, and attempts by hand.
    source_connections: int = 8
    # Unsent bytes for a source that does not read; beyond it the source is disconnected.
    source_backlog_bytes: int = 64 * 1024
    # A source that owes an answer for this long hangs: it is disconnected, and may reconnect.
    source_answer_seconds: float = 30.0
    # How long a source waits before it reconnects; doubled each time, up to the longest, if the
    # connection did not last longer than the wait.
    reconnect_seconds: float = 1.0
    longest_reconnect_seconds: float = 10.0
    # How long a lookup without a live key waits for a source: half of the second after which
    # sshd's helper gives up.
    pull_seconds: float = 0.5
    # Lookups that may wait at one time: half of all connections, so that others are served.
    pull_waiting: int = 128
    # Answers that a source may owe, late ones included; beyond it the source is not asked.
    pull_questions: int = 64
    # Failed questions in a row after which no lookup waits; and how long until a question in the
    # background shows whether the source answers again, doubled each time, up to the last value.
    pull_failures: int = 5
    pull_rest_seconds: float = 2.0
    pull_longest_rest_seconds: float = 5.0

    # Refused offers of one source that are remembered, so that repeats are not recorded again.
    refused_offers: int = 1024

    # An SSH public key's blob. RSA of 8192 bits has 1,047 bytes.
    key_blob_bytes: int = 2048
    # RSA above this costs every verifier too much and serves nobody.
    rsa_max_bits: int = 8192

    # The options before a key: an address in `from=` (50), all of KEY_OPTIONS (143), and room.
    key_options_bytes: int = 256
    # The whole answer to a lookup, end mark included: the helper reads less than 1 MiB. It bounds
    # keys.per_user (key_policy.py).
    answer_bytes: int = 1024 * 1024 - 1
    # The lookup line: a 255-byte user name, a fingerprint, and room.
    lookup_bytes: int = 512
    # The helper gives up after one second.
    lookup_seconds: float = 1.0
    # sshd's MaxStartups is 100 by default; each login asks once at a time.
    lookup_connections: int = 256

    # Characters of a caller's text that a record keeps: more than any honest value has.
    recorded_characters: int = 1024
    # Kept in memory to answer "why was I refused?": decisions for one user; and the bytes that
    # decisions about pushes, those about lookups, and leases each may take, for all users.
    history_per_user: int = 32
    history_bytes: int = 8 * 1024 * 1024
    # Memory of one of them in addition to its bytes: Python's objects.
    history_entry_bytes: int = 512
    history_lease_bytes: int = 1024
    # Users whose logins without a key are remembered; the same limit for revocations and uses.
    history_users: int = 1024
    # Refused requests with an unverified sender, for all users together.
    history_claims: int = 256
    # Records of sums and drops: some minutes of a flood.
    history_unwritten: int = 32
    # A repeated read by an operator within this time is counted, not recorded: `list --watch` and a
    # scraper would fill the log.
    operator_quiet_seconds: float = 60.0
    # How long after its end a lease still explains a refusal in the audit.
    history_seconds: float = 15 * 60.0

    # Audit records of what a flood can cause (refusals, replays, throttled pushes): a burst for one
    # source or principal, then a rate; the rest is summed up. The first few of each are enough to
    # find the cause.
    sampled_burst: int = 20
    sampled_per_second: float = 1.0
    # The same for all sources or principals together: ten records a second are 40 KB/s at most.
    sampled_total_burst: int = 400
    sampled_total_per_second: float = 10.0
    # Sources, or principals, that are tracked; beyond it the one seen longest ago is forgotten.
    sampled_groups: int = 2000
    # Lookups that were given one lease's key. Logins come in bursts (a playbook opens a connection
    # for each task), so these limits are higher; a compromised helper could ask without end.
    given_burst: int = 50
    given_per_second: float = 1.0
    given_total_burst: int = 1000
    given_total_per_second: float = 50.0
    # As many as the default keys.total.
    given_groups: int = 10_000
    # How long a sum runs before it is recorded.
    summing_seconds: float = 10.0
    # Sources, or principals, that a record of a sum names: those with the most.
    summed_groups: int = 10

    # Audit records held while stdout is blocked (bytes). The first limit is for all records,
    # some 2,000; the second is a reserve for what granted access or changed something: 36 seconds
    # of pushes and logins at the highest default rate.
    audit_room_bytes: int = 1024 * 1024
    audit_reserve_bytes: int = 8 * 1024 * 1024
    # Diagnostics held while stderr is blocked (bytes).
    diagnostics_room_bytes: int = 256 * 1024
    # Diagnostics of one kind: a burst, then a rate per second, and the most characters of each. A
    # source that is taken over can cause them without end, and journald drops its oldest records
    # for the newest. A traceback has some thousand characters; there are fewer kinds than these.
    diagnostics_burst: float = 50.0
    diagnostics_per_second: float = 0.2
    diagnostics_characters: int = 8 * 1024
    diagnostics_kinds: int = 256
    # At the end: how long to wait for the log while lookups are still answered, and then for the
    # last records. systemd's own limit is 15 s, of which draining takes 5.
    audit_drain_seconds: float = 5.0
    audit_stop_seconds: float = 0.5
    # How often to retry writing them: a pipe takes 64 KiB, some hundred records, at a time.
    audit_retry_seconds: float = 0.1

    # How often ended leases are deleted from the journal, and a failed journal is reopened.
    tend_seconds: float = 5.0
    # Polling interval while draining.
    drain_poll_seconds: float = 0.01
    # How long to wait before a cancelled task that still runs is cancelled again.
    cancel_again_seconds: float = 0.5
    # Memory that must be left for a push to be accepted. Out of memory, Python may crash anywhere;
    # with this reserve it can refuse, and go on answering lookups. It grows by 1 MiB at a time.
    memory_reserve_bytes: int = 4 * 1024 * 1024
    # The interpreter's thread switch interval.
    switch_seconds: float = 0.0001
    # SIGTERM: how long requests under way may take to end. systemd's own limit is 90.
    drain_seconds: float = 5.0
    # Pause before a start after a failed one, doubled each time up to the most, which must leave
    # enough of the unit's TimeoutStartSec=30s for the start itself.
    start_pause_seconds: float = 0.2
    start_pause_most_seconds: float = 10.0
    # File descriptors: connections and lookups, twice.
    descriptors: int = 2048


LIMITS = Limits()
