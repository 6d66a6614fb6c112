"""A prefix that nobody registered: a made-up system text of about a wanted size, for measuring a model's cache.

It sends nothing. Equal arguments give equal prompts, so whoever wants a cold start brings a salt that is new.
"""

from __future__ import annotations

import random
import re

from keepwarm import dialects, fingerprint, planner
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import ALWAYS, Api, BusyHoursPolicy, ModelFacts, Prefix, Route, Ttl
from keepwarm.pricing import Catalog, parse_model_id
from keepwarm.registry.requests import check_request, make_ping, shorthand_request

# A slash cannot stand in a registered name, so the two never meet in the ledger.
SYNTHETIC_NAME = "track/synthetic"

_CHARACTERS_PER_TOKEN = 4
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
_WORDS = (
    "the a of and to in that for on with as by at from this each every some no all account agent answer article "
    "balance branch budget case caution chapter claim clause client colour contract counter customer date decision "
    "delivery deposit detail document email evening example exchange figure flight form garden guest harbour history "
    "hotel house image insurance invoice island journey kitchen language lesson letter library light line list manual "
    "market member message model morning mountain notice number office order package page paper payment people plan "
    "policy price problem product question railway reason receipt record refund region rental report request result "
    "river room rule schedule season section service shipment sign station store story street summer supplier system "
    "table ticket time town traffic translation travel value village visit voyage water weather window winter word "
    "asks brings calls checks comes explains finds gives holds keeps knows leaves makes meets moves needs offers opens "
    "quotes reads repeats returns says sends shows states takes tells thanks uses waits writes always before clearly "
    "never often politely promptly quietly rarely seldom usually early late open short small warm careful second"
)


def synthetic_prefix(
    *, model_id: str, region: str, api: Api, ttl: Ttl, tokens: int, salt: str, catalog: Catalog, key: bytes
) -> Prefix:
    """A prefix of one made-up system text with one cache point at its end.

    Args:
        tokens: about how many the text shall have; English takes about four characters for one.
        salt: another salt makes another text from the first word on, and so another cache entry.
        key: the installation's fingerprint key.

    Raises:
        ConfigError: the model or region cannot be used, or the model does not sell this ttl.
    """
    if not _REGION.fullmatch(region):
        raise ConfigError([Problem("--region", 0, "", f"{region!r} is not a region; write for example eu-central-1")])
    facts = _facts(catalog, model_id, region)
    request = shorthand_request(synthetic_text(tokens, salt), api, dialects.dialect_of(api, facts.family), ttl)
    if ttl not in facts.ttls:
        sold = " and ".join(sorted(facts.ttls))
        raise ConfigError([Problem("--ttl", 0, "", f"is {ttl.value}, but {facts.base_id} sells only {sold}")])
    found = check_request(request, facts)
    if found:
        raise ConfigError([Problem("--model-id", 0, "", f"the made-up request {message}") for message in found])
    ping = make_ping(request, facts, key)
    return Prefix(
        name=SYNTHETIC_NAME,
        model_id=model_id,
        route=Route(region),
        api=api,
        facts=facts,
        ttl=ttl,
        lifetime=ttl.duration,
        margin=planner.default_margin(ttl, ttl.duration),
        busy_hours=ALWAYS,
        policy=BusyHoursPolicy(),
        prewarm=False,
        fingerprint=fingerprint.combine(key, None, None, region, model_id, api.value, ping.digest),
        estimated_tokens=max(1, ping.cached_characters // _CHARACTERS_PER_TOKEN),
        ping_request=ping.request,
    )


def synthetic_text(tokens: int, salt: str) -> str:
    """English-like sentences of about so many tokens; equal salts give equal texts."""
    dice = random.Random(salt)  # noqa: S311 - variety, not secrets
    vocabulary = _WORDS.split()
    sentences = [f"Notes of the file {salt}."]
    length = len(sentences[0])
    while length < tokens * _CHARACTERS_PER_TOKEN:
        words = " ".join(dice.choices(vocabulary, k=dice.randint(6, 14)))
        sentences.append(f"{words[0].upper()}{words[1:]}.")
        length += len(sentences[-1]) + 1
    return " ".join(sentences)[: max(1, tokens * _CHARACTERS_PER_TOKEN)]


def _facts(catalog: Catalog, model_id: str, region: str) -> ModelFacts:
    facts = catalog.find(model_id, region)
    if facts:
        return facts
    base_id = parse_model_id(model_id).base_id
    places = catalog.models.get(base_id)
    if places:
        known = ", ".join(sorted(f"{place}.{base_id}" for place in places if place and "-" not in place)[:6])
        message = f"{model_id!r} has no known price in {region}" + (f"; there are {known}" if known else "")
    else:
        message = f"{model_id!r} is not a model whose prices keepwarm knows"
    hint = (
        "give it a catalog entry (KEEPWARM_MODELS), or register a prefix with base_model: or prices: and track that "
        "by its name"
    )
    raise ConfigError([Problem("--model-id", 0, "", message)], hint=hint)
