"""Every limit and timeout that is not the administrator's to set, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes are in bytes and times in seconds, unless the comment says otherwise."""

    # One request, from its first byte to its last (for the first request of a connection: from the
    # connection, TLS handshake included). An honest push is one packet; a slow link needs seconds.
    request_seconds: float = 10.0
    # Between requests of a connection: what clients keep for their own pools.
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
    # What the kernel may hold of one network connection, each way (it takes twice that for its own
    # records): room for the longest request, and not for the megabytes it gives by default.
    kernel_bytes: int = 32 * 1024
    # After a refusal, how long what is still on its way is read, so that the client sees why.
    linger_seconds: float = 1.0
    # How long to wait when no descriptor is left for a connection.
    accept_retry_seconds: float = 0.1
    # Connections that the kernel holds until the daemon accepts them: more than a crowd brings at
    # once, because a client that finds no place there tries again only after a second.
    backlog: int = 1024
    # How long a request waits for those before it, when the journal's disk stands still.
    queue_seconds: float = 5.0

    # SigV4: how far a request's date may be off, either way (API reference, RequestExpired).
    clock_skew_seconds: int = 15 * 60
    # Accepted pushes that are remembered against replay. One principal gets half at most, and needs
    # less at the default rate: 20 a second for the 30 minutes that one may be valid are 36,000.
    remembered_marks: int = 100_000
    # Marks that are read from the journal at once, between two turns of the event loop.
    marks_at_once: int = 500
    # Whoever accepted pushes before a daemon that finds no journal ended at least so long ago.
    restart_seconds: float = 1.0
    # Failed authentications: so many at once from one source, then one a second; each further
    # answer waits for its turn, this long at most.
    failures_burst: int = 10
    failures_per_second: float = 1.0
    failure_delay_seconds: float = 5.0
    # Sources whose failures are counted; beyond it the one seen longest ago is forgotten.
    failure_sources: int = 10_000

    # EC2's metadata, all that one user's keys may take, and one block of them. An honest block has
    # below 2 KiB; 128 keys, the most that one user has here by default, are a quarter of it.
    metadata_bytes: int = 1024 * 1024
    metadata_block_bytes: int = 16 * 1024
    # Blocks that are looked at. Checking this many signatures takes a tenth of a second.
    metadata_blocks: int = 2048
    # Whatever EC2 says, a key lives this long from when it was seen first.
    metadata_key_seconds: float = 60.0
    # How far the end that EC2 gives a key may lie beyond that: what SigV4 allows a clock.
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
    # Refused blocks that are told of in one answer; from EC2 there is hardly ever one.
    metadata_refusals: int = 16
    # OCSP answers that are fetched; EC2 has three.
    ocsp_answers: int = 16

    # How long before their end a token and a signer are fetched anew, so that no login has to wait.
    metadata_ahead_of_end_seconds: float = 15 * 60.0
    # How often the metadata service is looked at: while it can be asked, and, each time twice as
    # long, from the first to the last while it cannot.
    metadata_watch_seconds: float = 60.0
    metadata_retry_seconds: float = 1.0

    # The source socket: a source says who it is within this time, or is not spoken with.
    hello_seconds: float = 5.0
    # Connections to it: two sources, one of each being replaced, and somebody's attempts by hand.
    source_connections: int = 8
    # What is on its way to a source that does not read; then it is dropped.
    source_backlog_bytes: int = 64 * 1024
    # A source that owes an answer for so long hangs: it is dropped, and may come again.
    source_answer_seconds: float = 30.0
    # How long a source waits before it connects again; twice as long each time, up to the longest,
    # where a connection did not even last for that.
    reconnect_seconds: float = 1.0
    longest_reconnect_seconds: float = 10.0
    # How long a lookup that found no live key waits for a source. sshd's helper gives up after 1 s;
    # half of that is left to it.
    pull_seconds: float = 0.5
    # Lookups that wait at one time; half of all that there may be, so that others are served.
    pull_waiting: int = 128
    # Answers that a source may owe, late ones included; then it is asked nothing more.
    pull_questions: int = 64
    # Questions that fail in a row before no lookup waits any more; and for how long: twice as long
    # each time, from the first to the last.
    pull_failures: int = 5
    pull_rest_seconds: float = 2.0
    pull_longest_rest_seconds: float = 60.0

    # Offers of one source that were refused and are not told again, however often they come.
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
    # The helper gives up after one second; nothing is left to answer then.
    lookup_seconds: float = 1.0
    # sshd's MaxStartups is 100 by default; each login asks once at a time.
    lookup_connections: int = 256

    # Kept in memory to answer "why was I refused?": decisions for one user; and the bytes that
    # decisions about pushes, those about lookups, and leases each may take, for all users.
    history_per_user: int = 32
    history_bytes: int = 8 * 1024 * 1024
    # What one of them takes beside its own bytes: Python's objects around it.
    history_entry_bytes: int = 512
    history_lease_bytes: int = 1024
    # Users of whom a login without a key, a revocation or a use is remembered.
    history_users: int = 1024
    # Refused requests with an unauthenticated sender, over all users.
    history_claims: int = 256
    # Records of what was summed up or dropped: some minutes of a flood.
    history_unwritten: int = 32
    # An operator who reads again within this time is counted, not recorded: `list --watch` and a
    # scrape of the counters would fill the log.
    operator_quiet_seconds: float = 60.0
    # How long after its end a pushed key still explains a refusal in the audit.
    history_seconds: float = 15 * 60.0

    # Audit records of what a flood can cause (refusals, replays, throttled pushes): so many at once
    # for one source or principal, then so many a second; the others are summed up. The first few of
    # each are what one needs to find the cause.
    sampled_burst: int = 20
    sampled_per_second: float = 1.0
    # The same for all sources or principals together: ten records a second are 40 KB/s at most.
    sampled_total_burst: int = 400
    sampled_total_per_second: float = 10.0
    # Sources, or principals, that are told apart in this; beyond it the one seen longest ago goes.
    sampled_groups: int = 2000
    # Lookups that were given one lease's key. Logins come in crowds (a playbook opens a connection
    # for each task), so their pace is above that; a helper that was taken over asks without end.
    given_burst: int = 50
    given_per_second: float = 1.0
    given_total_burst: int = 1000
    given_total_per_second: float = 50.0
    # As many as there are live leases, with keys.total as it comes.
    given_groups: int = 10_000
    # How long is summed up before it is told.
    summing_seconds: float = 10.0
    # Sources, or principals, that such a record names: those with the most.
    summed_groups: int = 10

    # Audit records held while stdout does not take them (bytes): what let nobody in, and changed
    # nothing, has the first room, some 2,000 records. The other is kept for what did: 36 seconds of
    # pushes and logins at the highest default rate.
    audit_room_bytes: int = 1024 * 1024
    audit_kept_bytes: int = 8 * 1024 * 1024
    # Diagnostics held while stderr does not take them (bytes).
    diagnostics_room_bytes: int = 256 * 1024
    # At the end: how long the log may take for what waits, while lookups are answered; and then for
    # the last records, when they are not. systemd's own limit is 15 s, of which draining takes 5.
    audit_drain_seconds: float = 5.0
    audit_stop_seconds: float = 0.5
    # How often they are tried again: a pipe takes 64 KiB, some hundred records, at a time.
    audit_retry_seconds: float = 0.1

    # How often ended leases leave the journal, and one that failed is tried again.
    tend_seconds: float = 5.0
    # How often draining looks whether it is over.
    drain_poll_seconds: float = 0.01
    # What must be left for a push to be taken. With the last byte gone, Python may crash wherever
    # it is; with this it can refuse, and go on answering lookups. It grows by 1 MiB at a time.
    memory_reserve_bytes: int = 4 * 1024 * 1024
    # How long one thread keeps the interpreter while another waits for it.
    switch_seconds: float = 0.0001
    # SIGTERM: how long requests under way may take to end. systemd's own limit is 90.
    drain_seconds: float = 5.0
    # How long a start waits after one that failed, and at most after many, each twice as long. It
    # must leave a start its time within the unit's TimeoutStartSec=30s.
    start_pause_seconds: float = 0.2
    start_pause_most_seconds: float = 10.0
    # File descriptors: connections, lookups, and as many again.
    descriptors: int = 2048


LIMITS = Limits()
