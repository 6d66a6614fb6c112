"""Reads lines of CloudWatch's Embedded Metric Format, and takes only what its specification allows."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

_SIZES = [f"{size}{unit}" for size, unit in product(("", "Kilo", "Mega", "Giga", "Tera"), ("bytes", "bits"))]
_AMOUNTS = [size.capitalize() for size in _SIZES]
UNITS = {"Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None"}
UNITS |= {f"{amount}{per}" for amount, per in product(_AMOUNTS, ("", "/Second"))}


def emf_line(text: str) -> dict[str, Any]:
    """The document in a line, checked by the rules of the specification (CloudWatch user guide, read 2026-11-23)."""
    assert len(text.encode()) <= 256 * 1024
    root: dict[str, Any] = json.loads(text)
    assert set(root["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(root["_aws"]["Timestamp"], int)
    for directive in root["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 255
        assert directive["Dimensions"]
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 9
            assert all(isinstance(root[name], str) and 1 <= len(root[name]) <= 1024 for name in dimensions)
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) <= {"Name", "Unit"}
            assert 1 <= len(metric["Name"]) <= 255
            assert metric["Unit"] in UNITS
            assert type(root[metric["Name"]]) in {int, float}
            assert math.isfinite(root[metric["Name"]])
    return root
