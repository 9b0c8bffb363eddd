"""Recognises an operator's action by its target, before anything else of a request is read."""

from __future__ import annotations

from typing import Optional

from agent.sources.api.message import Request

# Answered on the local push socket (agent/operations.py), and some of them by a network's door.
PREFIX = "Sixtykey."
METRICS = "Sixtykey.Metrics"
HOSTS, EXPLAIN = "Sixtykey.Hosts", "Sixtykey.Explain"


def operators_action(request: Request) -> Optional[str]:
    """The operator's action in X-Amz-Target, or Metrics for a scrape; else None."""
    if is_scrape(request):
        return METRICS
    target = request.text(b"x-amz-target") or ""
    return target if target.startswith(PREFIX) else None


def is_scrape(request: Request) -> bool:
    """Whether this is GET /metrics, the only request that Prometheus can send."""
    return request.method == b"GET" and request.target == b"/metrics"
