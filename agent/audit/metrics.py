"""The daemon's status in Prometheus' text format, version 0.0.4: names, types, values.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/. No I/O: a dict in, text out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Samples = Iterable[tuple[Mapping[str, str], float]]

_ACTIONS = ("list", "why", "revoke", "status", "metrics", "identity", "reload")


def prometheus(status: Mapping[str, Any]) -> str:
    """Text from the answer to Sixtykey.Status."""
    return "".join([*_gauges(status), *_counters(status["Counters"])])


def _gauges(status: Mapping[str, Any]) -> list[str]:
    names = {
        "version": status["Version"],
        "instance_id": status["InstanceId"],
        "availability_zone": status["AvailabilityZone"],
        "region": status["Region"],
    }
    users = [({"os_user": user}, n) for user, n in sorted(status["Leases"]["ByUser"].items())]
    stepped = "Seconds by which the wall clock was set since the daemon started."
    usable = "1 if the journal takes leases, without which no push is accepted; else 0."
    return [
        family("info", "gauge", "The running daemon.", [(names, 1)]),
        gauge("uptime_seconds", "Seconds since the daemon started.", status["Uptime"]),
        gauge("resident_memory_bytes", "The daemon's resident memory.", status["Memory"]),
        gauge("clock_stepped_seconds", stepped, status["ClockStepped"]),
        gauge("journal_usable", usable, float(status["Journal"]["Problem"] is None)),
        _sources(status.get("Sources", {})),
        family("leases", "gauge", "Live keys, by OS user.", users),
    ]


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> str:
    usable = "1 if lookups wait for this source; 0 if it has a problem."
    samples = [({"source": name}, how["Problem"] is None) for name, how in sorted(sources.items())]
    return family("source_usable", "gauge", usable, samples)


def _counters(counters: Mapping[str, Mapping[str, int]]) -> list[str]:
    operations = [
        ({"action": action, "outcome": outcome}, count)
        for action in _ACTIONS
        for outcome, count in sorted(counters.get(action, {}).items())
    ]
    requested = "Operators' requests, by action and outcome."
    summed = "Decisions that a flood caused and that were counted without a record each, by event."
    dropped = "Audit records that were dropped because the log was too slow, by event."
    logins = "Logins with a one-time key, by outcome."
    questions = "Questions to sources, by outcome."
    carried = "Messages of a fleet's bus other than leases, by outcome."
    refused = "Connections refused before a valid HTTP request, by error."
    return [
        counter("pushes", "Pushes, by outcome.", counters.get("push", {})),
        counter("lookups", "Lookups by sshd, by outcome.", counters.get("lookup", {})),
        counter("admissions", logins, counters.get("admission", {})),
        counter("source_questions", questions, counters.get("source", {})),
        counter("fleet_messages", carried, counters.get("fleet", {})),
        counter("http_refused", refused, counters.get("http", {})),
        _event_counter("audit_summed", summed, counters.get("summed", {})),
        _event_counter("audit_dropped", dropped, counters.get("dropped", {})),
        family("operations_total", "counter", requested, operations),
    ]


def gauge(name: str, what: str, value: float) -> str:
    """A family of one number that goes up and down."""
    return family(name, "gauge", what, [({}, value)])


def counter(name: str, what: str, by_outcome: Mapping[str, int]) -> str:
    """A family of counters, one for each outcome."""
    samples = [({"outcome": outcome}, count) for outcome, count in sorted(by_outcome.items())]
    return family(f"{name}_total", "counter", what, samples)


def _event_counter(name: str, what: str, by_event: Mapping[str, int]) -> str:
    samples = [({"event": event}, count) for event, count in sorted(by_event.items())]
    return family(f"{name}_total", "counter", what, samples)


def family(name: str, kind: str, what: str, samples: Samples) -> str:
    """A family of any kind: each sample with its labels."""
    lines = [f"# HELP sixtykey_{name} {what}", f"# TYPE sixtykey_{name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        lines.append(f"sixtykey_{name}{'{' + inside + '}' if inside else ''} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
