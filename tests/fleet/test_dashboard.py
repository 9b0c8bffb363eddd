"""The dashboard only uses metrics that a gateway has."""

from __future__ import annotations

import json
import re
from collections import Counter

from agent.fleet.gateway.metrics import Histogram, text
from tests.parts.host import ROOT


def test_every_panel_asks_for_a_metric_that_there_is() -> None:
    """Every metric in the dashboard's panels is one that the gateway exports."""
    counts = Counter({("push", "allowed"): 1, ("http", "x"): 1, ("fleet-join", "allowed"): 1})
    counts.update({("fleet-renew", "allowed"): 1, ("fleet-leave", "allowed"): 1})
    bus = {"connected": 1.0, "connections": 1.0, "hosts": 1.0}
    there = set(re.findall(r"^(sixtykey_\w+)", text("1", counts, Histogram(), bus), re.MULTILINE))
    page = json.loads((ROOT / "docs" / "grafana-fleet.json").read_text())
    asked = [target["expr"] for panel in page["panels"] for target in panel["targets"]]
    names = {name for expr in asked for name in re.findall(r"sixtykey_\w+", expr)}
    assert len(names) >= 8
    assert names - there == set()
