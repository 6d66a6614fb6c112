"""Only one daemon at a time holds a ledger, and a dead one holds nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm.errors import LedgerError
from keepwarm.ledger import Holder, Ledger, hold

FIRST = Holder(pid=4711, host="blue", since="2026-11-23T08:00:00Z")
SECOND = Holder(pid=4712, host="green", since="2026-11-23T09:00:00Z")

CHILD = (
    "import sys; from keepwarm.ledger import Holder, hold\n"
    "with hold(sys.argv[1], Holder(4711, 'blue', '2026-11-23T08:00:00Z')):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/ledger.db"


def test_a_second_daemon_is_told_who_the_first_is(url: str):
    with hold(url, FIRST), pytest.raises(LedgerError) as caught, hold(url, SECOND):
        pass
    assert "process 4711 on blue, since 2026-11-23T08:00:00Z" in str(caught.value)
    assert caught.value.hint


def test_a_ledger_let_go_can_be_held_again(url: str):
    with hold(url, FIRST):
        pass
    with hold(url, SECOND) as path, pytest.raises(LedgerError, match="4712 on green"), hold(url, FIRST):
        pass
    assert path.name == "ledger.db.lock"


def test_a_daemon_that_fails_lets_go(url: str):
    with pytest.raises(ZeroDivisionError), hold(url, FIRST):
        _ = 1 / 0
    with hold(url, SECOND):
        pass


def test_two_names_of_one_file_are_one_ledger(url: str, tmp_path: Path):
    Ledger.open(url).close()
    (tmp_path / "link.db").symlink_to(tmp_path / "state/ledger.db")
    with hold(url, FIRST), pytest.raises(LedgerError, match="4711"), hold(f"sqlite:///{tmp_path}/link.db", SECOND):
        pass


def test_two_ledgers_are_held_side_by_side(url: str):
    with hold(url, FIRST) as one, hold(url + "2", SECOND) as other:
        assert one != other


def test_the_ledger_itself_stays_open_to_all_while_it_is_held(url: str):
    with hold(url, FIRST), Ledger.open(url) as ledger:
        assert ledger.latest_number() == 0


def test_kill_9_lets_go_and_what_it_left_in_the_file_is_ignored(url: str, tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LedgerError, match="4711 on blue"), hold(url, SECOND):
            pass
        child.kill()
    assert "4711" in (tmp_path / "state/ledger.db.lock").read_text()
    with hold(url, SECOND) as path:
        assert "4711" not in path.read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '"x"'])
def test_a_holder_that_cannot_be_read_still_holds(url: str, content: str):
    with hold(url, FIRST) as path:
        path.write_text(content)
        with pytest.raises(LedgerError, match="has not told its name"), hold(url, SECOND):
            pass


def test_the_lock_file_is_for_its_owner_only(url: str):
    with hold(url, FIRST) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://db/ledger"])
def test_what_has_no_lock_says_so(url: str):
    with hold(url, FIRST) as one, hold(url, SECOND) as other:
        assert (one, other) == (None, None)


def test_a_lock_that_cannot_be_taken_is_an_error_of_ours(url: str, tmp_path: Path):
    (tmp_path / "state/ledger.db.lock").mkdir(parents=True)
    with pytest.raises(LedgerError, match="cannot lock") as caught, hold(url, FIRST):
        pass
    assert caught.value.hint
