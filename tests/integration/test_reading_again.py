"""A registry that is read again: what has not changed is taken over, and the result is that of reading it anew."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keepwarm.clock import utc_now
from keepwarm.errors import ConfigError
from keepwarm.pricing import Catalog
from keepwarm.registry import Files, Registry, Shelf, load_catalog, load_registry

KEY = b"key of the tests"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
POINT = {"cachePoint": {"type": "default"}}
DEFAULTS = {
    "model_id": CLAUDE,
    "region": "eu-central-1",
    "api": "converse",
    "busy_hours": "office",
    "policy": "adaptive",
}
HOURS = {"office": {"timezone": "UTC", "windows": ["Mon-Fri 08:00-18:00"]}}
HOUR = timedelta(hours=1)


class Desk:
    """A registry that is edited and read; by its clock all files are an hour old."""

    def __init__(self, path: Path) -> None:
        self.folder = path
        self.path = path / "registry.yaml"
        self.entries: list[dict[str, Any]] = []
        self.defaults: dict[str, Any] = dict(DEFAULTS)
        self.hours: dict[str, Any] = json.loads(json.dumps(HOURS))
        self.catalog: Catalog = load_catalog(None)
        self.now = utc_now() + HOUR

    def prompt(self, name: str, text: str) -> None:
        content = {"system": [{"text": f"{text} " * 6_000}, POINT], "messages": []}
        (self.folder / name).write_text(json.dumps(content))

    def add(self, name: str, **more: Any) -> None:
        self.prompt(f"{name}.json", name)
        self.entries.append({"name": name, "request": f"{name}.json", **more})

    def read(self, before: Registry | None = None, key: bytes = KEY) -> Registry:
        whole = {"version": 1, "busy_hours": self.hours, "defaults": self.defaults, "prefixes": self.entries}
        self.path.write_text(json.dumps(whole, indent=1))
        return load_registry(self.path, self.catalog, key, self.now, Files(), shelf=Shelf(), before=before)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for name in "abcd":
        desk.add(name)
    return desk


def taken_over(before: Registry, after: Registry) -> set[str]:
    """Names of the prefixes whose request was not read and made anew."""
    requests = {id(prefix.ping_request) for prefix in before.prefixes}
    return {prefix.name for prefix in after.prefixes if id(prefix.ping_request) in requests}


def test_only_what_has_changed_is_made_anew(desk):
    before = desk.read()
    desk.entries[1]["margin"] = "20s"
    after = desk.read(before)
    assert taken_over(before, after) == set("acd")
    assert [prefix.margin for prefix in after.prefixes] == [timedelta(seconds=each) for each in (30, 20, 30, 30)]


def test_what_has_moved_in_the_file_is_taken_over_with_its_new_line(desk):
    before = desk.read()
    desk.entries.reverse()
    after = desk.read(before)
    assert taken_over(before, after) == set("abcd")
    assert after == desk.read()
    assert [prefix.line for prefix in after.prefixes] == sorted(prefix.line for prefix in after.prefixes)


def test_another_text_of_the_same_length_and_age_is_another_prefix(desk):
    path = desk.folder / "a.json"
    found = path.stat()
    before = desk.read()
    desk.prompt("a.json", "b")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size
    with pytest.raises(ConfigError, match="is the same as 'a'"):
        desk.read(before)
    desk.prompt("a.json", "z")
    after = desk.read(before)
    assert taken_over(before, after) == set("bcd")
    assert after.prefixes[0].fingerprint != before.prefixes[0].fingerprint


def test_a_file_that_was_written_when_it_was_read_is_read_again(desk):
    desk.now = utc_now()
    before = desk.read()
    assert taken_over(before, desk.read(before)) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda desk: desk.defaults.update(margin="25s"),
        lambda desk: desk.hours["office"].update(timezone="Asia/Tokyo"),
        lambda desk: setattr(
            desk, "catalog", Catalog({**desk.catalog.models, "new": next(iter(desk.catalog.models.values()))})
        ),
    ],
    ids=["defaults", "busy hours", "models"],
)
def test_what_all_have_in_common_makes_all_anew(desk, change):
    before = desk.read()
    change(desk)
    after = desk.read(before)
    assert taken_over(before, after) == set()
    assert after == desk.read()


def test_another_key_makes_all_anew(desk):
    before = desk.read()
    after = desk.read(before, b"another")
    assert taken_over(before, after) == set()
    assert not {prefix.fingerprint for prefix in before.prefixes} & {prefix.fingerprint for prefix in after.prefixes}


def test_a_warning_is_told_at_every_reading_with_its_line_of_then(desk):
    desk.entries[3]["prewarm"] = False
    before = desk.read()
    del desk.entries[0]
    after = desk.read(before)
    assert [warning.line for warning in before.warnings] > [warning.line for warning in after.warnings] != []
    assert taken_over(before, after) == {"b", "c"}


def test_a_refused_reading_leaves_the_one_before_as_it_was(desk):
    before = desk.read()
    desk.entries[2]["ttl"] = "2h"
    with pytest.raises(ConfigError, match="2h"):
        desk.read(before)
    del desk.entries[2]["ttl"]
    assert taken_over(before, desk.read(before)) == set("abcd")


def test_requests_of_many_readings_lie_in_few_files_that_do_not_grow_for_ever(desk):
    open_before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    registry = desk.read()
    size = 0
    for number in range(300):
        desk.prompt("a.json", f"version {number}")
        registry = desk.read(registry)
        shelf = registry.made.shelf
        assert shelf
        size = max(size, shelf.size)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= open_before + 2
    assert size < 3 * sum((desk.folder / f"{name}.json").stat().st_size for name in "abcd") + 2_000_000


def test_after_any_edits_the_result_is_that_of_reading_everything_anew(desk):
    random, registry, refused = Random(11), desk.read(), 0
    edits = [
        lambda entry: entry.update(margin=f"{random.randrange(10, 40)}s"),
        lambda entry: entry.update(name=f"n{random.randrange(6)}"),
        lambda entry: entry.update(ttl=random.choice(["5m", "1h", "auto", "2h"])),
        lambda entry: entry.update(prewarm=random.random() < 0.5),
        lambda entry: desk.prompt(entry["request"], f"text {random.randrange(5)}"),
        lambda entry: desk.entries.remove(entry) if len(desk.entries) > 2 else None,
        lambda _entry: desk.add(f"x{random.randrange(20)}"),
        lambda _entry: random.shuffle(desk.entries),
        lambda _entry: desk.defaults.update(day_cap_usd=random.choice([1, 5, 5, 5])),
    ]
    for _ in range(120):
        kept = json.dumps([desk.entries, desk.defaults])
        random.choice(edits)(random.choice(desk.entries))
        try:
            wanted: object = desk.read()
        except ConfigError as error:
            wanted = error.problems
        try:
            found: object = desk.read(registry)
        except ConfigError as error:
            found = error.problems
        assert found == wanted
        if isinstance(found, Registry):
            registry = found
        else:
            refused += 1
            desk.entries, desk.defaults = json.loads(kept)
    assert 10 < refused < 90


def test_a_file_that_is_replaced_between_two_prefixes_of_one_reading_counts_as_changed(desk):
    class Replacing(Files):
        """Somebody writes the file when it was looked at for the first time."""

        written = False

        def keep(self, path: Path, before: Files, read_at: datetime) -> bool:
            found = super().keep(path, before, read_at)
            if path.name == "shared.json" and not self.written:
                self.written = True
                desk.prompt("shared.json", "new")
            return found

    desk.prompt("shared.json", "old")
    desk.entries = [{"name": "one", "request": "shared.json"}]
    before = desk.read()
    desk.entries.append({"name": "two", "request": "shared.json", "region": "eu-west-1"})
    whole = {"version": 1, "busy_hours": desk.hours, "defaults": desk.defaults, "prefixes": desk.entries}
    desk.path.write_text(json.dumps(whole))
    files = Replacing()
    found = load_registry(desk.path, desk.catalog, KEY, desk.now, files, shelf=Shelf(), before=before)
    texts = [prefix.ping_request["system"][0]["text"][:3] for prefix in found.prefixes]
    assert texts == ["old", "new"]  # what nobody may work with
    assert files.changed()
    files.forget()
    assert not files.changed()
