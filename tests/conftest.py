"""What holds for every test: asyncio in debug mode, and in CI nothing skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

# Read when an event loop is made: here, and in every daemon that a test starts.
os.environ.setdefault("PYTHONASYNCIODEBUG", "1")

IN_CI = os.environ.get("CI") == "true"


def _refuse_skip(report: Any) -> None:
    """Turn a skip into a failure: in CI a missing tool is a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI nothing is skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the outcome of each test."""
    report = yield
    if IN_CI:
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the outcome of each collection, where a whole module may skip itself."""
    report = yield
    if IN_CI:
        _refuse_skip(report)
    return report
