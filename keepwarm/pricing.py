"""What tokens cost: model ids to prices, usage to Decimal USD.

It reads no file and asks no price list; the catalog arrives as parsed data (`keepwarm/data/models.json` or an override
of the same shape). Money is exact: no rounding happens here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from keepwarm.model import Family, ModelFacts, Prices, Rates, Ttl, Usage, Verdict

GEOGRAPHIES = ("us-gov", "us", "eu", "apac", "jp", "au", "ca", "in", "global")

_MILLION = Decimal(1_000_000)
_GEOGRAPHY = re.compile(rf"^({'|'.join(GEOGRAPHIES)})\.(?=[a-z0-9-]+\.)")


class CatalogError(ValueError):
    """A model catalog that is not of the documented shape. `key` is the dotted path of the offending part."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model id taken apart.

    Attributes:
        base_id: without ARN and geography; an opaque id for an application inference profile.
        geography: of an inference profile, empty for a plain id.
    """

    base_id: str
    geography: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts by model: base id, then the place (geography, region, or empty) of its prices."""

    models: Mapping[str, Mapping[str, ModelFacts]]

    def find(self, model_id: str, region: str) -> ModelFacts | None:
        """The facts that fit a model id in a region; None when the model or the price of its place is not known.

        GovCloud costs a fifth more than elsewhere, so there the geography and the region stand in for each other, and
        the plain price for neither.
        """
        name = parse_model_id(model_id)
        places = self.models.get(name.base_id, {})
        if name.geography == "us-gov":
            return places.get("us-gov") or places.get(region)
        if name.geography:
            return places.get(name.geography)
        return places.get(region) or places.get("us-gov" if region.startswith("us-gov-") else "")


def parse_model_id(model_id: str) -> ModelName:
    """Take a plain id, an inference profile id or any Bedrock ARN apart (Bedrock user guide, read 2026-11-22)."""
    last = model_id.rsplit("/", 1)[-1]
    found = _GEOGRAPHY.match(last)
    return ModelName(last[found.end() :], found[1]) if found else ModelName(last, "")


def parse_catalog(data: Any) -> Catalog:
    """Build a catalog from parsed JSON.

    Raises:
        CatalogError: the data is not of the documented shape.
    """
    models = data.get("models") if isinstance(data, Mapping) else None
    if not isinstance(models, Mapping):
        raise CatalogError("models", "must be an object of base ids")
    return Catalog({base_id: _parse_model(base_id, row, data) for base_id, row in models.items()})


def parse_rates(row: Any, key: str) -> Rates:
    """Rates from a mapping of decimals (numbers or strings), USD per million tokens.

    Raises:
        CatalogError: a price is missing, negative or not a number.
    """
    if not isinstance(row, Mapping):
        raise CatalogError(key, "must be an object of prices in USD per million tokens")
    price = _decimal(row, "input", key)
    return Rates(
        input=price,
        output=_decimal(row, "output", key),
        cache_read=_decimal(row, "cache_read", key),
        cache_write_5m=_decimal(row, "cache_write_5m", key, default=price),
        cache_write_1h=_decimal(row, "cache_write_1h", key) if row.get("cache_write_1h") is not None else None,
    )


def parse_prices(row: Any, key: str, source: str) -> Prices:
    """Prices with their steps from a mapping of the catalog's shape.

    Raises:
        CatalogError: as `parse_rates`, or a step without `above_tokens`.
    """
    base = parse_rates(row, key)
    steps = []
    found = row.get("steps", [])
    if not isinstance(found, list):
        raise CatalogError(f"{key}.steps", "must be a list of prices, each with above_tokens")
    for index, step in enumerate(found):
        rates = parse_rates(step, f"{key}.steps[{index}]")
        if type(step.get("above_tokens")) is not int:
            raise CatalogError(f"{key}.steps[{index}].above_tokens", "must be a whole number of tokens")
        steps.append((step["above_tokens"], rates))
    return Prices(
        base=base,
        steps=tuple(sorted(steps, key=lambda step: step[0])),
        write_assumed=row.get("cache_write_5m") is None,
        source=source,
    )


def rates_for(prices: Prices, prompt_tokens: int) -> Rates:
    """The rates of a request whose whole prompt (uncached + read + written) has this many tokens."""
    rates = prices.base
    for above_tokens, step in prices.steps:
        if prompt_tokens > above_tokens:
            rates = step
    return rates


def cost_usd(prices: Prices, usage: Usage, ttl: Ttl) -> Decimal:
    """What a request costs; written tokens whose ttl is not told are priced at the ttl that was asked for."""
    rates = rates_for(prices, usage.prompt_tokens)
    written_1h = usage.cache_write_1h_tokens
    if written_1h is None:
        written_1h = usage.cache_write_tokens if ttl is Ttl.ONE_HOUR else 0
    return (
        usage.input_tokens * rates.input
        + usage.output_tokens * rates.output
        + usage.cache_read_tokens * rates.cache_read
        + (usage.cache_write_tokens - written_1h) * rates.cache_write(Ttl.FIVE_MINUTES)
        + written_1h * rates.cache_write(Ttl.ONE_HOUR)
    ) / _MILLION


def write_cost_usd(prices: Prices, tokens: int, ttl: Ttl) -> Decimal:
    """What writing a prefix of this many tokens costs."""
    return tokens * rates_for(prices, tokens).cache_write(ttl) / _MILLION


def read_cost_usd(prices: Prices, tokens: int) -> Decimal:
    """What reading a prefix of this many tokens costs."""
    return tokens * rates_for(prices, tokens).cache_read / _MILLION


def avoided_write_usd(prices: Prices, tokens: int, ttl: Ttl) -> Decimal:
    """What one request saves that reads a prefix instead of writing it: (w - r) x tokens, never below 0."""
    return max(Decimal(0), write_cost_usd(prices, tokens, ttl) - read_cost_usd(prices, tokens))


def billed_ttl(usage: Usage) -> Ttl | None:
    """The ttl that the usage says was written; None when nothing was written or the answer does not split it.

    Of a request with both ttls it is 5m: the longer one comes first, and the last cache point is the one kept warm.
    """
    if not usage.cache_write_tokens or usage.cache_write_1h_tokens is None:
        return None
    return Ttl.ONE_HOUR if usage.cache_write_1h_tokens >= usage.cache_write_tokens else Ttl.FIVE_MINUTES


def whole_write_ttl(usage: Usage) -> Ttl | None:
    """The ttl at which an organic request wrote our part of its prompt; None when its usage does not tell.

    An application may have cache points behind ours, with a shorter ttl: only a write of everything at one ttl speaks
    of our part.
    """
    if usage.cache_write_1h_tokens is None or usage.verdict is not Verdict.REWRITE:
        return None
    return {0: Ttl.FIVE_MINUTES, usage.cache_write_tokens: Ttl.ONE_HOUR}.get(usage.cache_write_1h_tokens)


def _parse_model(base_id: str, row: Any, data: Mapping[str, Any]) -> dict[str, ModelFacts]:
    key = f"models.{base_id}"
    about = data["_about"] if isinstance(data.get("_about"), Mapping) else {}
    source = f"{about.get('prices_from', 'catalog')}, read {about.get('read_on', 'on an unknown day')}"
    if not isinstance(row, Mapping) or not isinstance(row.get("prices"), Mapping):
        raise CatalogError(key, "must have family, min_tokens, ttls and prices")
    try:
        family, ttls = Family(row["family"]), frozenset(Ttl(ttl) for ttl in row["ttls"])
        min_tokens, min_max_tokens = int(row["min_tokens"]), int(row.get("min_max_tokens", 1))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise CatalogError(key, f"family, min_tokens or ttls is missing or wrong ({error!s:.100})") from None
    return {
        place: ModelFacts(
            base_id=base_id,
            family=family,
            min_tokens=min_tokens,
            ttls=ttls,
            prices=parse_prices(prices, f"{key}.prices.{place or '(plain)'}", source),
            min_max_tokens=min_max_tokens,
            tools_cacheable=bool(row.get("tools_cacheable", True)),
        )
        for place, prices in row["prices"].items()
    }


def _decimal(row: Mapping[str, Any], name: str, key: str, *, default: Decimal | None = None) -> Decimal:
    value = row.get(name, default)
    if value is None:
        raise CatalogError(f"{key}.{name}", "is missing; give USD per million tokens")
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise CatalogError(f"{key}.{name}", f"{value!r:.40} is not a number") from None
    if not found.is_finite() or not 0 <= found <= _MILLION:
        raise CatalogError(f"{key}.{name}", f"{value!r:.40} must be 0 or more, and at most a million")
    return found
