"""Settings for every test: asyncio in debug mode, no deadlines, and in CI no skipped test."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

from tests.parts.host import MissingToolError

# Applies to every event loop made here and in the daemons that tests start.
os.environ.setdefault("PYTHONASYNCIODEBUG", "1")

IN_CI = os.environ.get("CI") == "true"

# No deadline, since machines may be slow. In CI the examples are the same in each run.
hypothesis.settings.register_profile("sixtykey", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("sixtykey")


def _refuse_skip(report: Any) -> None:
    """Turn a skip into a failure."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI nothing is skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skip a test whose part lacks its program, and in CI turn every skip into a failure."""
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(MissingToolError):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {call.excinfo.value}")
    if IN_CI:
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI turn the skip of a whole module into a failure."""
    report = yield
    if IN_CI:
        _refuse_skip(report)
    return report
