"""The room of `keepwarm import`: a production request becomes an entry of the registry, whole or not at all.

It sends nothing and tells no running daemon; a reload does.
"""

from keepwarm.importing.importer import Imported, Wanted, import_request
from keepwarm.importing.recognising import NotRecognised, Recognised, parse, recognise, where_a_point_would_go

__all__ = [
    "Imported",
    "NotRecognised",
    "Recognised",
    "Wanted",
    "import_request",
    "parse",
    "recognise",
    "where_a_point_would_go",
]
