"""Prometheus and Grafana can use what a gateway exports."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.fleet.gateway.metrics import BOUNDS, Histogram, text
from tests.parts.host import ROOT

PAGE = json.loads((ROOT / "docs" / "grafana-fleet.json").read_text())
QUERIES = [target["expr"] for panel in PAGE["panels"] for target in panel["targets"]]
EVENTS = ("push", "hosts", "explain", "http", "fleet-join", "fleet-renew", "fleet-leave")
COUNTS = Counter({(event, "allowed"): number for number, event in enumerate(EVENTS, 1)})
BUS = {"connected": 1.0, "connections": 2.0, "hosts": 3.0}


def metrics(latency: Histogram) -> str:
    """A gateway's metrics, with each family that there is."""
    return text("1", COUNTS, latency, BUS)


def types() -> dict[str, str]:
    """The type of each sample's family, by the sample's name."""
    families = text_string_to_metric_families(metrics(Histogram()))
    return {sample.name: family.type for family in families for sample in family.samples}


def test_every_panel_asks_for_a_metric_that_there_is() -> None:
    """Every metric in the dashboard's queries is one that the gateway exports."""
    names = {name for query in QUERIES for name in re.findall(r"sixtykey_\w+", query)}
    assert len(names) >= 8
    assert names - types().keys() == set()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_fits_the_metrics_type(query: str) -> None:
    """`rate` is taken of counters and buckets only, and each of these only under `rate`."""
    rated = set(re.findall(r"rate\((sixtykey_\w+)\[", query))
    found = types()
    for name in re.findall(r"sixtykey_\w+", query):
        assert (found[name] in {"counter", "histogram"}) == (name in rated)
    assert ("histogram_quantile" in query) == ("_bucket" in query)


def test_prometheus_reads_every_family_and_figure() -> None:
    """Prometheus' own parser reads each family, with help and type, and the counted figures."""
    families = {each.name: each for each in text_string_to_metric_families(metrics(Histogram()))}
    assert all(each.documentation and each.type != "unknown" for each in families.values())
    read = {
        name.removeprefix("sixtykey_gateway_"): [sample.value for sample in family.samples]
        for name, family in families.items()
    }
    names = ("pushes", "lists", "explanations", "http_refused", "joins", "renews", "leaves")
    assert [read[name] for name in names] == [[number] for number in range(1, 8)]
    assert (read["bus_connected"], read["bus_connections"], read["hosts"]) == ([1], [2], [3])


def test_the_histogram_is_cumulative() -> None:
    """Each bucket has all pushes up to its bound; the last one is the count."""
    latency = Histogram()
    for seconds in (0.0005, 0.001, 0.003, 0.003, 4.5, 100.0):
        latency.add(seconds)
    families = text_string_to_metric_families(metrics(latency))
    (family,) = [each for each in families if each.name == "sixtykey_gateway_push_seconds"]
    assert family.type == "histogram"
    buckets = [(s.labels["le"], s.value) for s in family.samples if s.name.endswith("_bucket")]
    assert [float(bound) for bound, _ in buckets] == [*BOUNDS, float("inf")]
    assert [value for _, value in buckets] == [2, 2, 4, *[4] * 8, 5, 6]
    rest = {s.name.rpartition("_")[2]: s.value for s in family.samples if "_bucket" not in s.name}
    assert rest == {"sum": pytest.approx(104.5075), "count": 6}
