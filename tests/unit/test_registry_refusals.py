"""Every bad registry is refused whole, with file, line and key of all its problems at once.

What is expected stands in the registries themselves, behind `#!`: the key, a colon, and a part of the message. In front
of the key, `[file]` or `[file:line]` names another file; `#0!` stands for a problem of the file as a whole, and a digit
in its place for another line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keepwarm.errors import ConfigError, Problem
from keepwarm.registry import load_catalog, load_registry
from keepwarm.registry.requests import MAX_BODY_BYTES

BAD = Path(__file__).parent.parent / "registries" / "bad"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = b"key of the tests"

# Written by the test, because they are too large to be read by people or would break their editors.
MADE = {
    "deep.json": lambda: b"[" * 100_000 + b"]" * 100_000,
    "long_number.json": lambda: b'{"a": ' + b"1" * 5_000 + b"}",
}

HEAD = """version: 1
defaults: {region: eu-central-1, busy_hours: always, api: converse, min_tokens: 1,
           model_id: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"}
"""


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_registry(path, load_catalog(None), KEY, NOW)
    return caught.value


def expected(path: Path) -> Iterator[tuple[str, int, str, str]]:
    """File, line, key and a part of the message of each problem."""
    for number, text in enumerate(path.read_text().splitlines(), 1):
        for mark in re.findall(r"#\d*! .*?(?=  #\d*! |$)", text):
            line, file, file_line, key, words = re.fullmatch(
                r"#(\d*)! (?:\[([^\]:]+)(?::(\d+))?\] )?(\S*?): (.*)", mark
            ).groups()
            if file:
                yield str(path.parent / file), int(file_line or 0), key, words
            else:
                yield str(path), int(line) if line else number, key, words


def fits(problem: Problem, wanted: tuple[str, int, str, str]) -> bool:
    return (problem.file, problem.line, problem.key) == wanted[:3] and wanted[3] in problem.message


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A copy of the bad registries, to which the files that are made are added."""
    (tmp_path / "requests").mkdir()
    for file in BAD.rglob("*.*"):
        (tmp_path / file.relative_to(BAD)).write_bytes(file.read_bytes())
    for name, make in MADE.items():
        (tmp_path / "requests" / name).write_bytes(make())
    return tmp_path


@pytest.mark.parametrize("name", sorted(path.name for path in BAD.glob("*.yaml")))
def test_every_problem_of_a_bad_registry_is_told_with_its_place_in_one_run(bad, name):
    wanted = list(expected(bad / name))
    problems = list(refusal(bad / name).problems)

    assert wanted, f"{name} says nowhere what is wrong with it"
    for want in wanted:
        found = next((problem for problem in problems if fits(problem, want)), None)
        assert found, f"missing: {want}\nleft: {[str(problem) for problem in problems]}"
        problems.remove(found)
    assert [str(problem) for problem in problems] == []


def test_a_refusal_says_that_nothing_was_applied_and_what_to_run(bad):
    error = refusal(bad / "many_at_once.yaml")
    assert error.hint == "nothing was applied; mend the file and run `keepwarm check`"
    assert len(str(error).splitlines()) == len(error.problems)


def test_the_problems_of_a_file_are_told_from_its_top_to_its_end(bad):
    lines = [problem.line for problem in refusal(bad / "values_of_the_wrong_kind.yaml").problems]
    assert lines == sorted(lines)


def test_no_message_shows_a_pattern_or_the_words_of_the_schema_library(bad):
    for path in sorted(bad.glob("*.yaml")):
        for problem in refusal(path).problems:
            assert not re.search(r"\\d|\^\[|Input should|valid dictionary|instance of|List should", problem.message)


def test_a_request_over_20_mb_is_refused_before_it_is_read(tmp_path):
    request = {"system": [{"text": "x" * MAX_BODY_BYTES}, {"cachePoint": {"type": "default"}}], "messages": []}
    (tmp_path / "large.json").write_text(json.dumps(request))
    (tmp_path / "large.md").write_text("x" * (MAX_BODY_BYTES + 1))
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        HEAD + "prefixes:\n  - {name: a, request: large.json}\n  - {name: b, system: {file: large.md}}\n"
    )

    told = [(Path(problem.file).name, problem.line, problem.message) for problem in refusal(registry).problems]
    large = "is larger than Bedrock accepts (20,000,000 bytes)"
    assert told == [
        ("large.json", 0, large),
        ("large.md", 0, large),
        ("registry.yaml", 5, f"names {tmp_path / 'large.json'}, which cannot be used"),
        ("registry.yaml", 6, f"names {tmp_path / 'large.md'}, which cannot be used"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 0, "is empty"),
        (b"version: 1\nname: \xe9\n", 2, "is not UTF-8; save the file in that encoding"),
        ("version: 1\n".encode("utf-16"), 1, "is not UTF-8"),
        (b"version: \0", 0, "is not YAML: unacceptable character"),
        (b"a: b\n---\nc: d\n", 2, "is not YAML: but found another document"),
        (b"a:\n\tb: c\n", 2, "indent with spaces, not with a tab"),
        (b"a: " + b"[" * 50_000 + b"]" * 50_000, 1, "nests deeper than 100 levels"),
        (b"{a: " * 50_000 + b"1" + b"}" * 50_000, 1, "nests deeper than 100 levels"),
    ],
    ids=["nothing", "latin-1", "utf-16", "zero byte", "two documents", "tab", "deep lists", "deep mappings"],
)
def test_a_file_that_is_no_yaml_is_refused_in_words(tmp_path, content, line, words):
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    (problem,) = refusal(path).problems
    assert (problem.file, problem.line) == (str(path), line)
    assert words in problem.message


def test_a_registry_that_is_missing_is_refused_in_words(tmp_path):
    (problem,) = refusal(tmp_path / "nowhere.yaml").problems
    assert str(problem) == f"{tmp_path / 'nowhere.yaml'}: cannot be read: No such file or directory"
