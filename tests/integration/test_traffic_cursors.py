from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from keepwarm.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_cursor_is_remembered_over_a_restart_and_replaced_by_the_next(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    with Ledger.open(url) as ledger:
        assert ledger.cursor("logs:eu") is None
        ledger.set_cursor("logs:eu", "one", NOON)
        ledger.set_cursor("s3:eu", "other", NOON)
        ledger.set_cursor("logs:eu", "two", NOON)
    with Ledger.open(url) as ledger:
        assert (ledger.cursor("logs:eu"), ledger.cursor("s3:eu")) == ("two", "other")


def test_many_threads_and_two_ledgers_may_set_one_cursor(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    with Ledger.open(url) as one, Ledger.open(url) as two:
        threads = [
            threading.Thread(target=ledger.set_cursor, args=("logs:eu", str(number), NOON))
            for number in range(8)
            for ledger in (one, two)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.cursor("logs:eu") == two.cursor("logs:eu") in {str(number) for number in range(8)}
