"""The paths that steer an emulator from outside: its health, its log, its faults, and forced eviction.

It serves no model and opens no socket; a test or a person drives a `keepwarm emulate` process with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from urllib.parse import parse_qs, urlsplit

from keepwarm.emulator.faults import Faults
from keepwarm.emulator.service import Service
from keepwarm.emulator.wire import Json, Reply, common_headers, dump

PATHS = "/_emulator/"
_NO_REQUEST = "00000000-0000-0000-0000-000000000000"


def steer(service: Service, method: str, target: str, body: bytes) -> Reply:
    """Answer a request for one of these paths; a wrong one is answered with 400 or 404 and a `message`.

    `GET health`, `GET log` (`?since=N` for the requests after number N), `GET` and `PUT faults` (JSON of patterns, each
    with its switches; a PUT forgets all others), `POST evict` (`?model=PATTERN`).
    """
    url = urlsplit(target)
    action = _ACTIONS.get((method, url.path.removeprefix(PATHS)))
    if action is None:
        return _reply({"message": f"there is {', '.join(' '.join(name) for name in _ACTIONS)}"}, 404)
    try:
        return _reply(action(service, {name: values[-1] for name, values in parse_qs(url.query).items()}, body))
    except ValueError as error:
        return _reply({"message": str(error)}, 400)


def _health(_service: Service, _query: Mapping[str, str], _body: bytes) -> Json:
    return {"status": "ok"}


def _log(service: Service, query: Mapping[str, str], _body: bytes) -> Json:
    after = int(query.get("since", "0"))
    requests = [asdict(request) for request in service.history() if request.number > after]
    return {"requests": [row | {"at": row["at"].isoformat()} for row in requests]}


def _tell_faults(service: Service, _query: Mapping[str, str], _body: bytes) -> Json:
    return {pattern: faults.to_mapping() for pattern, faults in service.faults.items()}


def _set_faults(service: Service, _query: Mapping[str, str], body: bytes) -> Json:
    service.replace_faults(_faults(body))
    return {"status": "ok"}


def _evict(service: Service, query: Mapping[str, str], _body: bytes) -> Json:
    return {"evicted": service.evict(query.get("model", "*"))}


_ACTIONS: Mapping[tuple[str, str], Callable[[Service, Mapping[str, str], bytes], Json]] = {
    ("GET", "health"): _health,
    ("GET", "log"): _log,
    ("GET", "faults"): _tell_faults,
    ("PUT", "faults"): _set_faults,
    ("POST", "evict"): _evict,
}


def _faults(body: bytes) -> dict[str, Faults]:
    found = json.loads(body)
    if not isinstance(found, Mapping) or not all(isinstance(switches, Mapping) for switches in found.values()):
        raise ValueError("must be an object of patterns, each with an object of switches")
    return {pattern: Faults.from_mapping(switches) for pattern, switches in found.items()}


def _reply(content: Json, status: int = 200) -> Reply:
    return Reply(status, common_headers(_NO_REQUEST), dump(content))
