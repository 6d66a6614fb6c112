"""The history of the ledger's tables, as Alembic runs it.

It is loaded by Alembic from this folder and imported by nobody.
"""
