"""What cannot be configured of a fleet: each limit and timeout with its unit and its reason."""

from __future__ import annotations

from typing import NamedTuple


class FleetLimits(NamedTuple):
    """Sizes are in bytes and times in seconds, unless the comment says otherwise."""

    # A signed document, envelope included. A lease for an RSA key of 8192 bits has 2.5 KB,
    # and what a host is given when it joins 4 to 10.
    document_bytes: int = 16 * 1024
    # A file of the fleet's: facts, keys, an account's token with its revocations.
    file_bytes: int = 1024 * 1024
    # The account's token, which has 93 bytes for each removed host, when an operator removes one: a
    # server of the bus takes 1 MiB in a message. Hosts that left by themselves are revoked up to a
    # smaller size, so that whoever fills the registry leaves room for the operator's removals.
    account_bytes: int = 768 * 1024
    account_left_bytes: int = 640 * 1024
    # Replaced nkeys of one host that an operator's removal revokes, too; a timer does the others.
    former: int = 32
    # Skipped rows of the registry that a command names one by one.
    skipped: int = 10
    # A text in it, such as a principal; a public key's type and base64; a tag's name or value.
    text_characters: int = 512
    key_characters: int = 4096
    # The type and base64 of one of sshd's public host keys; one of RSA with 8192 bits has 1,400.
    host_key_characters: int = 2048
    # The most host keys in a description; sshd makes three, and an administrator may add some.
    host_keys: int = 6
    tag_characters: int = 64
    # Texts in a list of it: a key's options, servers, issuers; and tags.
    list_items: int = 32
    tags: int = 16
    # The latest time in a document, in milliseconds since 1970: the end of the year 9999.
    last_time_ms: int = 253_402_300_799_999
    # The largest difference of a gateway's and a host's clock, either way. NTP keeps it at
    # milliseconds; this allows for a host whose NTP is down for weeks.
    clocks_apart_seconds: float = 5.0
    # How long a lease may be on its way; normally that takes milliseconds.
    transit_seconds: float = 1.0
    # The largest difference of a join or renew request from the gateway's clock: a new machine's
    # clock may not be set yet.
    request_seconds: float = 300.0
    # How long a host's certificate and its token for the bus live; they are renewed in the second
    # half. A host that was switched off may renew after its end, for this long, unless removed.
    membership_seconds: int = 7 * 86_400
    grace_seconds: int = 90 * 86_400
    # The longest that a host's refusal can say to wait, in milliseconds: replay marks last 30 min.
    wait_ms: int = 3_600_000
    # How long a gateway waits for a host's answer. Clients wait 60 s and try again by themselves.
    wait_seconds: float = 4.0
    # Verified certificates of hosts that a gateway caches; others are verified again.
    certificates: int = 100_000
    # How long a host may answer a message, by the bus's own permission; a gateway waits less.
    answer_seconds: float = 5.0
    # A host that asks a gateway: how long it waits for each step, and how much it reads.
    gateway_seconds: float = 20.0
    gateway_bytes: int = 64 * 1024
    # The time limit to connect to one server of the bus, with TLS, and how long an operator's
    # command waits for each server to accept the account's new token.
    connect_seconds: float = 10.0
    # A permanent connection doubles it after each round without a server, at most this often: 80 s,
    # in which a server that does 500 handshakes a second lets 40,000 hosts in.
    connect_doublings: int = 3
    claims_seconds: float = 3.0
    # A line of a server (its first one has 2 KiB); and a message, which is long only where it lists
    # a page of connections: 1000 of them take 0.6 MiB. A server that was taken over could send one
    # without end. Answers that a gateway has not read yet: as many, and as many bytes.
    bus_line_bytes: int = 64 * 1024
    bus_message_bytes: int = 8 * 1024 * 1024
    unread_answers: int = 8192
    # How long the server may take to close a connection with us, before we drop it.
    close_seconds: float = 2.0
    # Connections on one page of a server's list, and how long the server may take for it.
    page_connections: int = 1000
    # The most pages of a list: a server takes 100,000 connections, and a server that is taken over
    # could send pages for ever.
    list_pages: int = 100
    # The most connections that a server is believed to have.
    largest_count: int = 1_000_000
    listing_seconds: float = 2.0
    # A name of a server or connection, and a time, in such a list.
    listed_characters: int = 253
    # How long the list of connected hosts, and a host's description, are cached: commands that
    # watch the list or complete names ask repeatedly.
    roster_seconds: float = 2.0
    description_seconds: float = 60.0
    # Hosts that are asked in parallel for their description; and the most on one page of a list.
    parallel_requests: int = 64
    page: int = 1000
    # Decisions in a host's explanation, and the bytes of its envelope that they may take. The reply
    # repeats the envelope as a text, whose escapes at most double it, beside a certificate of 2 KB;
    # the bus's own limit is twice a document.
    explained: int = 48
    explanation_bytes: int = 12 * 1024
    # Refused and repeated pushes that a gateway remembers of each principal, and the bytes that
    # those of one principal and of all take; what one takes beside its texts. A usual one has
    # 0.9 KiB, and one with the longest reason 3 KiB.
    attempts: int = 64
    attempts_share: int = 64 * 1024
    attempts_bytes: int = 8 * 1024 * 1024
    attempt_bytes: int = 384
    # Inquiries that a host answers; and as many questions, repetitions, refusals of what no issuer
    # signed, and refusals of what one signed at another time: a burst, then a rate per second. Each
    # costs two signature operations. A gateway inquires once a minute, and asks only when a person
    # runs `why`; a connector repeats what was under way when it lost the daemon.
    asked: float = 40.0
    asked_per_second: float = 5.0
    # Verified messages that turn out to be worthless: a burst, then a rate per second. Each takes
    # 0.1 to 0.3 ms, by its length, so this is a seventh of a processor at most. Honest ones are
    # worthless only while clocks differ; pace.py says what follows.
    verified: float = 500.0
    verified_per_second: float = 500.0
    # Messages that are recognised as repeated before they are verified; then once they are.
    taken: int = 4096
    # How often a gateway asks the others for removals of hosts, and how long it waits for each step
    # of that: when it stops, too, for which it has 20 s.
    peers_seconds: float = 30.0
    peer_seconds: float = 4.0
    # Answers of /fleet/state, which is long and for anybody: for one source, and in all. Each is a
    # burst, then a rate per second; an honest gateway asks twice a minute.
    states_source: float = 20.0
    states_source_per_second: float = 1.0
    states_total: float = 40.0
    states_per_second: float = 4.0
    # How often the hosts are counted, if there is a listener for metrics.
    count_seconds: float = 30.0
    # A permanent connection: the longest random wait of a host before it reconnects (each server of
    # the bus has thousands of hosts), and the longest pause when no server can be reached.
    reconnect_seconds: float = 2.0
    pause_seconds: float = 15.0
    # How often a connection is checked, and how often nats-py itself sends a ping.
    watch_seconds: float = 10.0
    ping_seconds: float = 20.0
    # Errors of a connection that are logged: a burst, then a rate per second. Messages that come
    # faster than they are read are an error each.
    errors: float = 5.0
    errors_per_second: float = 0.1
    # Messages that a connector holds while the daemon is absent or busy, and for how long: a
    # restart of the daemon takes 0.3 s, and a gateway waits 4 s.
    held_messages: int = 256
    held_seconds: float = 3.0
    # Unsent bytes to a daemon that does not read, before it is disconnected: all held messages, in
    # base64.
    backlog_bytes: int = 8 * 1024 * 1024
    # How often a connector tries to reach an absent daemon.
    daemon_seconds: float = 0.1
    # Subscriptions of a host (its own subject, and room) and of a gateway (its inbox, and room).
    host_subscriptions: int = 2
    gateway_subscriptions: int = 8


FLEET = FleetLimits()
