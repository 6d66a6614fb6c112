"""The threat model names tests that are there, and tells of every reader that is fuzzed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzz.mutations import CORPUS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_reader_that_is_fuzzed_has_its_row_and_a_small_corpus() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.split("## Fuzzing")[1], re.MULTILINE))
    assert rows == TARGETS.keys() == {folder.name for folder in CORPUS.iterdir()}
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 100_000


def test_security_md_leads_to_it() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert "docs/security.md" in (ROOT / "README.md").read_text()
