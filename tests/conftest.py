"""What holds for every test: asyncio in debug mode, no haste, and in CI nothing skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

from tests.parts.host import MissingToolError

# Read when an event loop is made: here, and in every daemon that a test starts.
os.environ.setdefault("PYTHONASYNCIODEBUG", "1")

IN_CI = os.environ.get("CI") == "true"

# A slow machine is no defect. In CI the same examples each time: a failure is then the change's.
hypothesis.settings.register_profile("sixtykey", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("sixtykey")


def _refuse_skip(report: Any) -> None:
    """Turn a skip into a failure: in CI a missing tool is a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI nothing is skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the outcome of each test; a part that lacks its program skips the test."""
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(MissingToolError):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {call.excinfo.value}")
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
