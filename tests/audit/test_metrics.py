"""The metrics that Prometheus' own parser reads are the figures that the daemon counted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agent.audit.metrics import prometheus

STATUS: dict[str, Any] = {
    "Version": "1.2.3",
    "InstanceId": "i-0f1e2d3c4b5a69788",
    "AvailabilityZone": "us-east-2b",
    "Region": "us-east-2",
    "Uptime": 12.5,
    "ClockStepped": -3600.0,
    "Memory": 33_554_432,
    "Journal": {"Path": "/x", "Problem": None},
    "Sources": {
        "ec2": {"Attached": True, "Problem": None, "Waiting": 0},
        "other": {"Attached": False, "Problem": "not connected", "Waiting": 0},
    },
    "Leases": {"Total": 3, "ByUser": {"alice": 2, "bob": 1}},
    "Counters": {
        "push": {"allowed": 3, "AuthException": 1},
        "lookup": {"given": 4, "none": 123_456_789},
        "admission": {"admitted": 2, "refused": 6},
        "revoke": {"allowed": 1},
        "http": {"BadRequest": 7},
        "summed": {"push": 4000, "lookup": 12},
        "dropped": {"push": 9},
        "source": {"answered": 5},
        "fleet": {"throttled": 8},
    },
}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_was_counted() -> None:
    """Each figure of the status is read as a sample of its family, with its value."""
    read = samples(prometheus(STATUS))
    assert read["sixtykey_pushes_total", (("outcome", "allowed"),)] == 3
    assert read["sixtykey_pushes_total", (("outcome", "AuthException"),)] == 1
    assert read["sixtykey_lookups_total", (("outcome", "none"),)] == 123_456_789
    assert read["sixtykey_admissions_total", (("outcome", "admitted"),)] == 2
    assert read["sixtykey_admissions_total", (("outcome", "refused"),)] == 6
    assert read["sixtykey_leases", (("os_user", "alice"),)] == 2
    assert read["sixtykey_uptime_seconds", ()] == 12.5
    assert read["sixtykey_clock_stepped_seconds", ()] == -3600
    assert read["sixtykey_resident_memory_bytes", ()] == 33_554_432
    assert read["sixtykey_http_refused_total", (("outcome", "BadRequest"),)] == 7
    assert read["sixtykey_audit_summed_total", (("event", "push"),)] == 4000
    assert read["sixtykey_audit_summed_total", (("event", "lookup"),)] == 12
    assert read["sixtykey_audit_dropped_total", (("event", "push"),)] == 9
    assert read["sixtykey_operations_total", (("action", "revoke"), ("outcome", "allowed"))] == 1
    assert read["sixtykey_journal_usable", ()] == 1
    assert read["sixtykey_source_usable", (("source", "ec2"),)] == 1
    assert read["sixtykey_source_usable", (("source", "other"),)] == 0
    assert read["sixtykey_source_questions_total", (("outcome", "answered"),)] == 5
    assert read["sixtykey_fleet_messages_total", (("outcome", "throttled"),)] == 8


def test_an_unusable_journal_has_the_gauge_0() -> None:
    """While the journal is unusable, its gauge is 0."""
    broken = {**STATUS, "Journal": {"Path": "/x", "Problem": "disk full"}}
    assert samples(prometheus(broken))["sixtykey_journal_usable", ()] == 0


def test_every_family_has_a_type_and_help() -> None:
    """Every family has a HELP and a TYPE, and every counter's name ends in _total."""
    families = list(text_string_to_metric_families(prometheus(STATUS)))
    assert all(family.documentation and family.type in {"gauge", "counter"} for family in families)
    counters = [sample.name for f in families if f.type == "counter" for sample in f.samples]
    assert all(name.endswith("_total") for name in counters)


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
def test_no_user_name_breaks_out_of_its_label(name: str) -> None:
    """Any OS user name is read back unchanged as one label value."""
    text = prometheus({**STATUS, "Leases": {"Total": 1, "ByUser": {name: 1}}})
    assert samples(text)["sixtykey_leases", (("os_user", name),)] == 1
