"""Troubles that a running campaign cannot reach, as tests that are run beside it: `make chaos` tells of them too.

It holds no scenario itself.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.chaos import invariants
from tests.chaos.invariants import Findings
from tests.daemons import CANARY

_HERE = Path(__file__).parents[1]
_FILES = (_HERE / "process" / "test_hardship.py", _HERE / "process" / "test_full_disk.py")


class Heard:
    """What pytest tells of scenarios.

    Attributes:
        results: whether each held, by its name.
        told: what went wrong, by name.
    """

    def __init__(self) -> None:
        self.results: dict[str, str] = {}
        self.told: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear of one phase of a test."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        if report.when == "call" or not report.passed:
            self.results[name] = report.outcome
        if report.failed:
            self.told[name] = report.longreprtext


def run_all(place: Path, findings: Findings) -> dict[str, str]:
    """Run each of them once; what they write stays in a place.

    Returns:
        `passed`, `failed` or `skipped` for each, by its name.
    """
    heard = Heard()
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={_HERE.parent}", f"--basetemp={place}"]
    with redirect_stdout(StringIO()):
        pytest.main([*options, *map(str, _FILES)], plugins=[heard])
    judge(findings, heard)
    invariants.check_files(findings, place, [CANARY])
    return heard.results


def judge(findings: Findings, heard: Heard) -> None:
    """There are some, and none failed."""
    findings.check(invariants.HELD, heard.results, "none was found")
    for name, result in heard.results.items():
        findings.check(invariants.HELD, result != "failed", f"{name}: {heard.told.get(name, '')[-1_500:]}")
