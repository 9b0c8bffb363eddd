"""What cannot be configured of a fleet: each limit and timeout with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FleetLimits:
    """Sizes are in bytes and times in seconds, unless the comment says otherwise."""

    # A signed document, envelope included. A lease for an RSA key of 8192 bits has 2.5 KB,
    # and what a host is given when it joins 4 to 10.
    document_bytes: int = 16 * 1024
    # A file of the fleet's: facts, keys, an account's token with its revocations.
    file_bytes: int = 1024 * 1024
    # A text in it, such as a principal; a public key's type and base64; a tag's name or value.
    text_characters: int = 512
    key_characters: int = 4096
    # One of sshd's public host keys, likewise; one of RSA with 8192 bits has 1,400.
    host_key_characters: int = 2048
    # Of these, how many a host tells of; sshd makes three, and an administrator may add some.
    host_keys: int = 6
    tag_characters: int = 64
    # Texts in a list of it: a key's options, servers, issuers; and tags.
    list_items: int = 32
    tags: int = 16
    # The last time that it can name, in milliseconds since 1970: the end of the year 9999.
    last_time_ms: int = 253_402_300_799_999
    # How far a gateway's clock and a host's may be apart, either way. NTP keeps milliseconds; this
    # is for a host whose NTP is down for weeks.
    clocks_apart_seconds: float = 5.0
    # How long a lease may be on its way; in order, that is milliseconds.
    transit_seconds: float = 1.0
    # How far a host's request to join or renew may be from the gateway's clock: a fresh machine's
    # own may not be set yet.
    request_seconds: float = 300.0
    # How long a host's certificate and its token for the bus live; they are renewed in the second
    # half. A host that was switched off may renew after its end, for this long, unless removed.
    membership_seconds: int = 7 * 86_400
    grace_seconds: int = 90 * 86_400
    # The longest that a host's refusal can say to wait, in milliseconds: replay marks last 30 min.
    wait_ms: int = 3_600_000
    # How long a gateway waits for a host's answer. Clients wait 60 s and try again by themselves.
    wait_seconds: float = 4.0
    # Hosts' certificates that a gateway has verified and keeps: beyond it they are verified anew.
    certificates: int = 100_000
    # How long a host may answer a message, by the bus's own permission; a gateway waits less.
    answer_seconds: float = 5.0
    # A host that asks a gateway: how long it waits for each step, and how much it reads.
    gateway_seconds: float = 20.0
    gateway_bytes: int = 64 * 1024
    # How long one server of the bus may take to be connected to, TLS included, and how long an
    # operator's command waits for each server to take the account's new token.
    connect_seconds: float = 10.0
    claims_seconds: float = 3.0
    # Connections that a server of the bus tells of at once, and how long it may take for it.
    listed: int = 1000
    # How many of these lists are asked for: a server takes 100,000 connections. One that was taken
    # over could go on for ever.
    lists: int = 100
    listing_seconds: float = 2.0
    # How long it is remembered who is connected, and what a host has said of itself: whoever
    # watches the list, or completes names, asks again and again.
    roster_seconds: float = 2.0
    told_seconds: float = 60.0
    # Hosts that are asked at the same time who they are; and that one page of a list has at most.
    asked_at_once: int = 64
    page: int = 1000
    # How often the hosts are counted, where there is a listener for metrics.
    count_seconds: float = 30.0
    # A lasting connection: how long at most a host waits, by chance, before it connects again (each
    # server of the bus has thousands of them), and how long when no server is to be had.
    reconnect_seconds: float = 2.0
    pause_seconds: float = 15.0
    # How often a connection is looked at, and how often nats-py itself asks the server.
    watch_seconds: float = 10.0
    ping_seconds: float = 20.0
    # Messages that a connector holds for a daemon that is away or busy, and for how long: a restart
    # of the daemon takes 0.3 s, and a gateway waits for 4.
    held_messages: int = 256
    held_seconds: float = 3.0
    # What is on its way to a daemon that does not read; then it is given up. All that is held, in
    # base64.
    backlog_bytes: int = 8 * 1024 * 1024
    # How often a connector looks for a daemon that is away.
    daemon_seconds: float = 0.1
    # Subscriptions of a host (its own subject, and room) and of a gateway (its inbox, and room).
    host_subscriptions: int = 2
    gateway_subscriptions: int = 8


FLEET = FleetLimits()
