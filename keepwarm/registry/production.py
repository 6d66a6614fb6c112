"""The request of a registered prefix as production sends it, which is more than the registry's ping.

It sends nothing; `keepwarm doctor` does, to see whether production reads what the ping wrote.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from keepwarm import dialects, replay
from keepwarm.model import Api, Prefix
from keepwarm.registry.document import read_document
from keepwarm.registry.requests import Request, beside, read_request, read_text, shorthand_request


def production_prefix(path: Path, prefix: Prefix, *, confined: bool = False) -> Prefix:
    """The prefix with the whole registered request in place of its ping; the output limit is as small as it may be.

    Args:
        path: of the registry that the prefix is from.
        confined: as `load_registry`; the registry may have changed since.

    Raises:
        ConfigError: the request file cannot be read any more.
    """
    request = _request(path, prefix, confined=confined)
    body = replay.production_body(request.reading, request.body, prefix.facts.min_max_tokens)
    whole = body if prefix.api is Api.CONVERSE else {**request.arguments, "body": json.dumps(body).encode()}
    return replace(prefix, ping_request=whole)


def _request(path: Path, prefix: Prefix, *, confined: bool) -> Request:
    data = read_document(path).data
    own = next(entry for entry in data["prefixes"] if entry["name"] == prefix.name)
    entry = own if {"request", "system"} & own.keys() else {**data.get("defaults", {}), **own}
    dialect = dialects.dialect_of(prefix.api, prefix.facts.family)
    if "request" in entry:
        return read_request(beside(path, entry["request"], confined=confined), prefix.api, dialect, prefix.model_id)
    system = entry["system"]
    text = system["text"] if "text" in system else read_text(beside(path, system["file"], confined=confined))
    return shorthand_request(text, prefix.api, dialect, prefix.ttl)
