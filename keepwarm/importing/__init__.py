"""The room of `keepwarm import`: a production request becomes an entry of the registry, whole or not at all.

It sends nothing and tells no running daemon; a reload does.
"""

from keepwarm.importing.importer import Imported, Wanted, cut_request, import_request
from keepwarm.importing.publishing import Draft, publish
from keepwarm.importing.recognising import NotRecognised, Recognised, parse, recognise, where_a_point_would_go

__all__ = [
    "Draft",
    "Imported",
    "NotRecognised",
    "Recognised",
    "Wanted",
    "cut_request",
    "import_request",
    "parse",
    "publish",
    "recognise",
    "where_a_point_would_go",
]
