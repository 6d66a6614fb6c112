"""The OpenAPI description of what goes over HTTP.

It validates nothing: each touch of a batch is judged on its own by `touches`, so that one bad one loses no other.
"""

from __future__ import annotations

from typing import Any

_COUNT = {"type": "integer", "minimum": 0, "maximum": 100_000_000}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_SECTION = {"enum": ["tools", "system", "messages"]}

_USAGE = {
    "type": "object",
    "description": "What Bedrock billed; input_tokens is the uncached rest. Leave it out when it is not known.",
    "properties": {
        "input_tokens": _COUNT,
        "output_tokens": _COUNT,
        "cache_read_tokens": _COUNT,
        "cache_write_tokens": _COUNT,
        "cache_write_1h_tokens": _COUNT | {"type": ["integer", "null"]},
    },
}

_SKETCH = {
    "type": "object",
    "description": "Digests of what the cache sees, made by keepwarm.fingerprint; no text.",
    "required": ["dialect", "settings", "blocks"],
    "properties": {
        "dialect": {"enum": ["anthropic", "nova", "converse"]},
        "settings": {
            "type": "array",
            "items": {"type": "array", "prefixItems": [_SECTION, {"type": "string"}, _DIGEST]},
        },
        "blocks": {
            "type": "array",
            "maxItems": 256,
            "items": {
                "type": "array",
                "prefixItems": [_SECTION, _DIGEST, {"enum": ["5m", "1h", None]}, {"type": "integer", "minimum": 0}],
            },
        },
    },
}

_TOUCH = {
    "type": "object",
    "required": ["request_id", "started_at", "api", "model_id", "region"],
    "properties": {
        "request_id": {"type": "string", "description": "Names the request once; the AWS request id, or a UUID."},
        "started_at": {"type": "string", "format": "date-time", "description": "When the request was sent, with zone."},
        "api": {"enum": ["converse", "invoke_model"]},
        "model_id": {"type": "string"},
        "region": {"type": "string"},
        "source": {"enum": ["reporter", "http"]},
        "latency_ms": {"type": "integer", "minimum": 0},
        "usage": _USAGE,
        "sketch": _SKETCH,
    },
}

TOUCHES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["touches"],
                "properties": {
                    "touches": {"type": "array", "maxItems": 1000, "items": _TOUCH},
                    "dropped": _COUNT
                    | {"description": "Others lost since the last batch that was taken; counted only."},
                },
            }
        }
    },
}

TOUCHES_RECEIPT: dict[str, Any] = {
    "description": "What became of each touch.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "accepted": {"type": "integer"},
                    "duplicate": {"type": "integer"},
                    "unknown": {"type": "integer", "description": "Accepted, but of no registered prefix."},
                    "refused": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "index": {"type": "integer"},
                                "request_id": {"type": "string"},
                                "reason": {"type": "string"},
                                "message": {"type": "string"},
                            },
                        },
                    },
                },
            }
        }
    },
}

_IS_STOPPED = {"type": "object", "properties": {"stopped": {"type": "boolean", "const": True}}}

STOPPED: dict[str, Any] = {
    "description": "All pings are stopped.",
    "content": {"application/json": {"schema": _IS_STOPPED}},
}


def _answer(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": sorted(properties)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


NO_PREFIX: dict[str, Any] = {
    "description": "The registry has no prefix of this name.",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}

TTL = _answer(
    "What the cache points of a request that is sent now should ask for.",
    {
        "prefix": {"type": "string"},
        "ttl": {"enum": ["5m", "1h"]},
        "max_age_seconds": {"type": "integer", "minimum": 1, "description": "Ask again after so long."},
        "reason": {"enum": ["fixed", "default", "learnt", "living"]},
    },
)

CLOSING_BODY: dict[str, Any] = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "at": {"type": "string", "format": "date-time", "description": "With zone; now when left out."},
                    "reason": {"type": "string", "maxLength": 255, "description": "For log and ledger."},
                },
            }
        }
    },
}

CLOSED = _answer(
    "Heard. Pinging goes on where an organic request is known that started later.",
    {
        "prefix": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "closed": {"type": "boolean", "description": "Whether pinging is ended now."},
    },
)
