"""The room of `keepwarm discover`: from the history of requests to the prefixes that would be worth keeping warm.

It sends nothing, registers nothing and keeps no prompt text.
"""

from keepwarm.discovery.ranking import Discovery, Found, Outlook, Unmarked, rank, windows_of
from keepwarm.discovery.reading import Batch, Files, LogGroupHistory, Origin, S3History
from keepwarm.discovery.state import Position, load_state, save_state
from keepwarm.discovery.tally import Group, Tally

__all__ = [
    "Batch",
    "Discovery",
    "Files",
    "Found",
    "Group",
    "LogGroupHistory",
    "Origin",
    "Outlook",
    "Position",
    "S3History",
    "Tally",
    "Unmarked",
    "load_state",
    "rank",
    "save_state",
    "windows_of",
]
