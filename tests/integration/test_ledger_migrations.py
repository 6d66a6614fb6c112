"""A ledger's tables come from its migrations alone, and those agree with the tables that the program uses."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateTable

import keepwarm.ledger
from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.ledger.tables import intents, metadata, outcomes


def schema(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_migrations_make_exactly_the_tables_of_the_program(ledger_url: str):
    Ledger.open(ledger_url).close()
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrations_make_the_same_sql_as_the_tables_of_the_program(tmp_path: Path):
    Ledger.open(f"sqlite:///{tmp_path}/migrated.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/created.db")
    metadata.create_all(engine)
    engine.dispose()
    migrated = [row for row in schema(tmp_path / "migrated.db") if "alembic" not in row[0]]
    assert [(name, sql and set(sql.split())) for name, sql in migrated] == [
        (name, sql and set(sql.split())) for name, sql in schema(tmp_path / "created.db")
    ]


def test_opening_again_changes_nothing(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    Ledger.open(url).close()
    before = schema(tmp_path / "ledger.db")
    Ledger.open(url).close()
    assert schema(tmp_path / "ledger.db") == before


def test_migrating_says_nothing_on_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_ledger_of_a_newer_keepwarm_is_refused_with_a_way_out(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    Ledger.open(url).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match=r"newer keepwarm \(revision 9999\)") as caught:
        Ledger.open(url)
    assert "newer keepwarm" in caught.value.hint


def test_a_migration_that_fails_leaves_no_half_made_tables(tmp_path: Path):
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("CREATE TABLE outcomes (somebody TEXT)")
    with pytest.raises(LedgerError, match="outcomes already exists"):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    assert [name for name, _ in schema(tmp_path / "ledger.db")] == ["outcomes"]


def test_migrations_are_found_wherever_the_package_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / "odd %(here)s place" / "migrations"
    shutil.copytree(Path(keepwarm.ledger.__file__).parent / "migrations", place)
    monkeypatch.setattr("keepwarm.ledger.database._MIGRATIONS", place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    assert "intents" in dict(schema(tmp_path / "ledger.db"))


@pytest.mark.parametrize(
    ("dialect", "moment"), [(postgresql.dialect(), "TIMESTAMP WITH TIME ZONE"), (mysql.dialect(), "DATETIME(6)")]
)
def test_other_databases_keep_microseconds_and_wide_numbers(dialect: object, moment: str):
    sql = str(CreateTable(intents).compile(dialect=dialect)) + str(CreateTable(outcomes).compile(dialect=dialect))
    assert f"started_at {moment}" in sql
    assert f"completed_at {moment}" in sql
    assert "BIGINT" in sql or "BIGSERIAL" in sql
