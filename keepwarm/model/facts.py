"""What is known of models: the words of their requests, prices, limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum


class Ttl(StrEnum):
    """The two lifetimes that Bedrock sells for a cache entry."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"

    @property
    def duration(self) -> timedelta:
        """How long an entry lives from the start of the request that last touched it."""
        return timedelta(minutes=5) if self is Ttl.FIVE_MINUTES else timedelta(hours=1)


class Api(StrEnum):
    """The API family a prefix is sent through; entries are not assumed to be shared between the two."""

    CONVERSE = "converse"
    INVOKE_MODEL = "invoke_model"


class Family(StrEnum):
    """Who made the model; it decides the shape of an InvokeModel body."""

    ANTHROPIC = "anthropic"
    NOVA = "nova"


class Section(StrEnum):
    """The three parts of a prompt, in the order in which the cache reads them."""

    TOOLS = "tools"
    SYSTEM = "system"
    MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per 1,000,000 tokens.

    Attributes:
        cache_write_1h: None when the model sells no 1h entry.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal | None = None

    def cache_write(self, ttl: Ttl) -> Decimal:
        """Price of writing an entry of this ttl; a 1h write without a price of its own counts double input."""
        if ttl is Ttl.FIVE_MINUTES:
            return self.cache_write_5m
        return self.cache_write_1h if self.cache_write_1h is not None else 2 * self.input


@dataclass(frozen=True, slots=True)
class Prices:
    """What the tokens of one model cost through one model id.

    Attributes:
        base: rates of ordinary prompts.
        steps: `(above_tokens, rates)`, ascending; the whole request is billed at the rates of the highest step that
            its prompt (uncached + read + written tokens) exceeds.
        write_assumed: True when no write price is published and the input price stands in for it (Nova).
        source: where the figures are from, with the date they were read.
    """

    base: Rates
    steps: tuple[tuple[int, Rates], ...] = ()
    write_assumed: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What keepwarm must know of the model behind a prefix.

    Attributes:
        base_id: model id without geography, such as `anthropic.claude-sonnet-4-5-20250929-v1:0`.
        min_tokens: shortest prefix that is cached; where sources disagree the larger figure.
        ttls: lifetimes that the model sells.
        min_max_tokens: smallest output limit that the model accepts.
        tools_cacheable: whether a cache point may stand in the tools section.
    """

    base_id: str
    family: Family
    min_tokens: int
    ttls: frozenset[Ttl]
    prices: Prices
    min_max_tokens: int = 1
    tools_cacheable: bool = True
