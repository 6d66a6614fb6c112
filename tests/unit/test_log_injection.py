"""No word from outside forges a line of a log or commands a terminal, in either format."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime

import pytest

from keepwarm import telemetry
from keepwarm.model import Event

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ODD = ["a\nb", "a\r\n2026 forged", "\x1b[2J", "\x1b]0;title\x07", "\u202egnp.exe", "\u2028x", "\x85x", "\ud800", "\x00"]
COLOURS = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[3")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_odd_words_stay_within_their_line(log_format: str, odd: str) -> None:
    stream = io.StringIO()
    telemetry.configure("debug", log_format, stream)
    telemetry.log(Event("prefix_paused", NOW, "info", {"why": odd, "problems": [odd], odd: 1, "nested": {"why": odd}}))
    logging.getLogger("somebody").error("%s said %s", odd, "more")
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    for colour in COLOURS:
        text = text.replace(colour, "")
    assert odd not in text
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    text.encode()
    if log_format == "json":
        assert json.loads(text.splitlines()[0])["why"] == odd


def test_ordinary_words_of_all_languages_stay_as_they_are_on_a_terminal() -> None:
    stream = io.StringIO()
    telemetry.configure("debug", "console", stream)
    telemetry.log(Event("prefix_paused", NOW, "info", {"why": "größer"}))
    assert "größer" in stream.getvalue()
