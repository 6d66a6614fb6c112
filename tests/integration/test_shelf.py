"""Requests of pings on disk; the file is real."""

from __future__ import annotations

import json
import resource
import tempfile
from pathlib import Path

import pytest

from keepwarm.registry import Shelf
from tests.daemons import CANARY

REQUEST = {"system": [{"text": CANARY}], "messages": [{"content": [{"image": {"source": {"bytes": b"\xff\xfe"}}}]}]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def is_open(folder: Path) -> bool:
    """Whether this process holds a file of a folder open, deleted ones too."""
    links = list(Path("/proc/self/fd").iterdir())
    return any(str(link.readlink()).startswith(str(folder)) for link in links if link.is_symlink())


def test_what_is_put_on_a_shelf_comes_back_as_it_was_with_its_bytes(folder):
    shelf = Shelf()
    first, second = shelf.put(REQUEST), shelf.put({"body": b"{}", "accept": "*/*"})
    assert first == REQUEST
    assert dict(second.items()) == {"body": b"{}", "accept": "*/*"}
    assert list(second) == ["body", "accept"]
    assert len(first) == 2
    assert first["system"] == REQUEST["system"]


def test_its_file_has_no_name_and_its_text_is_in_no_repr(folder):
    kept = Shelf().put(REQUEST)
    assert list(folder.iterdir()) == []
    assert CANARY not in repr(kept)
    assert kept == REQUEST


def test_the_file_goes_with_the_last_request_that_lies_in_it(folder):
    kept = Shelf().put(REQUEST)
    assert is_open(folder)
    assert kept["messages"]
    del kept
    assert not is_open(folder)


def test_where_no_temporary_file_can_be_had_requests_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert Shelf().put(REQUEST) is REQUEST


@pytest.mark.parametrize("room", [0, 10])
def test_where_the_disk_is_full_requests_stay_in_memory(folder, room):
    shelf = Shelf()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # bytes of a file; more fails as a full disk does
    try:
        kept = shelf.put(REQUEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kept is REQUEST


def test_a_shelf_that_nothing_was_put_on_has_nothing(folder):
    with pytest.raises(OSError, match="nothing was put here"):
        Shelf().take(0, 1)
    assert json.dumps(dict(Shelf().put({"a": 1}))) == '{"a": 1}'
