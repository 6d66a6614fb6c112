"""What tokens cost: the shipped catalog against the published table, ids of every form, usage to exact USD."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.model import Family, Prices, Rates, Ttl, Usage
from keepwarm.pricing import (
    GEOGRAPHIES,
    Catalog,
    CatalogError,
    ModelName,
    avoided_write_usd,
    billed_ttl,
    cost_usd,
    parse_catalog,
    parse_model_id,
    parse_prices,
    parse_rates,
    rates_for,
    read_cost_usd,
    write_cost_usd,
)

SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_STEPPED = "anthropic.claude-haiku-5-5"


def shipped() -> Catalog:
    return parse_catalog(json.loads(files("keepwarm").joinpath("data/models.json").read_text(encoding="utf-8")))


CATALOG = shipped()


def prices(model_id: str, region: str = "us-east-1") -> Prices:
    facts = CATALOG.find(model_id, region)
    assert facts is not None
    return facts.prices


def figures(rates: Rates) -> str:
    """Rates as the price table writes them: input / output / write 5m / write 1h / read."""
    row = (rates.input, rates.output, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read)
    return " / ".join("-" if price is None else str(price) for price in row)


# -- the shipped catalog ------------------------------------------------------------------------------------------

# Fact sheet of 2026-11-22, section 2: the plain id or `global.`, then `us.`.
TABLE = [
    ("anthropic.claude-fable-5-1", "10 / 50 / 12.5 / 20 / 0.25", "11 / 55 / 13.75 / 22 / 0.275"),
    ("anthropic.claude-mythos-5-1", "10 / 50 / 12.5 / 20 / 0.25", "11 / 55 / 13.75 / 22 / 0.275"),
    ("anthropic.claude-fable-5", "10 / 50 / 12.5 / 20 / 1", "11 / 55 / 13.75 / 22 / 1.1"),
    ("anthropic.claude-opus-5-5", "4 / 20 / 5 / 8 / 0.2", "4.4 / 22 / 5.5 / 8.8 / 0.22"),
    ("anthropic.claude-opus-5", "5 / 25 / 6.25 / 10 / 0.5", "5.5 / 27.5 / 6.875 / 11 / 0.55"),
    ("anthropic.claude-opus-4-8", "5 / 25 / 6.25 / 10 / 0.5", "5.5 / 27.5 / 6.875 / 11 / 0.55"),
    ("anthropic.claude-opus-4-1-20250805-v1:0", "15 / 75 / 18.75 / - / 1.5", "15 / 75 / 18.75 / - / 1.5"),
    ("anthropic.claude-sonnet-5-5", "2 / 10 / 2.5 / 4 / 0.1", "2.2 / 11 / 2.75 / 4.4 / 0.11"),
    ("anthropic.claude-sonnet-5", "2 / 10 / 2.5 / 4 / 0.2", "2.2 / 11 / 2.75 / 4.4 / 0.22"),
    ("anthropic.claude-sonnet-4-6", "3 / 15 / 3.75 / 6 / 0.3", "3.3 / 16.5 / 4.125 / 6.6 / 0.33"),
    (SONNET, "3 / 15 / 3.75 / 6 / 0.3", "3.3 / 16.5 / 4.125 / 6.6 / 0.33"),
    ("anthropic.claude-sonnet-4-20250514-v1:0", "3 / 15 / 3.75 / - / 0.3", "3 / 15 / 3.75 / - / 0.3"),
    ("anthropic.claude-3-7-sonnet-20250219-v1:0", "3 / 15 / 3.75 / - / 0.3", "3 / 15 / 3.75 / - / 0.3"),
    (HAIKU_STEPPED, "0.1 / 0.5 / 0.125 / 0.2 / 0.01", "0.11 / 0.55 / 0.1375 / 0.22 / 0.011"),
    ("anthropic.claude-haiku-4-5-20251001-v1:0", "1 / 5 / 1.25 / 2 / 0.1", "1.1 / 5.5 / 1.375 / 2.2 / 0.11"),
    ("anthropic.claude-3-5-haiku-20241022-v1:0", "0.8 / 4 / 1 / - / 0.08", "0.8 / 4 / 1 / - / 0.08"),
    # Nova publishes no write price; the input price stands in for it.
    ("amazon.nova-micro-v1:0", "0.035 / 0.14 / 0.035 / - / 0.00875", "0.035 / 0.14 / 0.035 / - / 0.00875"),
    ("amazon.nova-lite-v1:0", "0.06 / 0.24 / 0.06 / - / 0.015", "0.06 / 0.24 / 0.06 / - / 0.015"),
    ("amazon.nova-pro-v1:0", "0.8 / 3.2 / 0.8 / - / 0.2", "0.8 / 3.2 / 0.8 / - / 0.2"),
    ("amazon.nova-2-lite-v1:0", "0.3 / 2.5 / 0.3 / - / 0.075", "0.33 / 2.75 / 0.33 / - / 0.0825"),
]


@pytest.mark.parametrize(("base_id", "plain", "us"), TABLE)
def test_shipped_prices_are_those_of_the_published_table(base_id, plain, us):
    assert figures(prices(base_id).base) == plain
    assert figures(prices(f"us.{base_id}").base) == us


@pytest.mark.parametrize(
    ("model_id", "region", "expected"),
    [
        ("amazon.nova-premier-v1:0", "us-east-1", "2.5 / 12.5 / 2.5 / - / 0.625"),
        ("us.anthropic.claude-mythos-5", "us-east-1", "11 / 55 / 13.75 / 22 / 1.1"),
        (f"global.{SONNET}", "eu-central-1", "3 / 15 / 3.75 / 6 / 0.3"),
        (f"eu.{SONNET}", "eu-central-1", "3.3 / 16.5 / 4.125 / 6.6 / 0.33"),
        (f"jp.{SONNET}", "ap-northeast-1", "3.3 / 16.5 / 4.125 / 6.6 / 0.33"),
        (f"au.{SONNET}", "ap-southeast-2", "3.3 / 16.5 / 4.125 / 6.6 / 0.33"),
        ("eu.amazon.nova-pro-v1:0", "eu-central-1", "1.05 / 4.2 / 1.05 / - / 0.2625"),
        ("apac.amazon.nova-2-lite-v1:0", "ap-south-1", "0.396 / 3.311 / 0.396 / - / 0.099"),
        ("eu.amazon.nova-2-lite-v1:0", "eu-west-1", "0.429 / 3.597 / 0.429 / - / 0.10725"),
    ],
)
def test_each_geography_has_its_own_price(model_id, region, expected):
    assert figures(prices(model_id, region).base) == expected


@pytest.mark.parametrize(
    ("model_id", "region", "expected"),
    [
        (SONNET, "us-gov-west-1", "3.6 / 18 / 4.5 / 7.2 / 0.36"),
        (f"us-gov.{SONNET}", "us-gov-east-1", "3.6 / 18 / 4.5 / 7.2 / 0.36"),
        ("amazon.nova-pro-v1:0", "us-gov-east-1", "0.96 / 3.84 / 0.96 / - / 0.24"),
        # A GovCloud price under the region alone serves the profile as well.
        ("us-gov.anthropic.claude-haiku-4-5-20251001-v1:0", "us-gov-west-1", "1.2 / 6 / 1.5 / 2.4 / 0.12"),
    ],
)
def test_govcloud_costs_a_fifth_more(model_id, region, expected):
    assert figures(prices(model_id, region).base) == expected


@pytest.mark.parametrize(
    ("model_id", "region"),
    [
        ("amazon.nova-premier-v1:0", "us-gov-west-1"),  # sold, if at all, at a price that is not known
        ("amazon.nova-micro-v1:0", "us-gov-east-1"),
        ("us-gov.amazon.nova-premier-v1:0", "us-gov-west-1"),
        ("us.amazon.nova-premier-v1:0", "us-east-1"),
        ("anthropic.claude-mythos-5", "us-east-1"),
        ("meta.llama3-70b-instruct-v1:0", "us-east-1"),
        ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3", "us-east-1"),
    ],
)
def test_a_price_that_is_not_known_is_not_guessed(model_id, region):
    assert CATALOG.find(model_id, region) is None


def test_the_govcloud_geography_stands_in_for_its_regions():
    row = {"input": 1, "output": 1, "cache_read": 1}
    catalog = parse_catalog(one_model(prices={"": row, "us-gov": row | {"input": "1.2"}}))
    found = catalog.find("m", "us-gov-west-1")
    assert found is not None
    assert found.prices.base.input == Decimal("1.2")


def test_nova_writes_are_marked_as_assumed_and_cost_what_input_costs():
    nova, claude = prices("amazon.nova-pro-v1:0"), prices(SONNET)
    assert (nova.write_assumed, claude.write_assumed) == (True, False)
    assert write_cost_usd(nova, 10_000, Ttl.FIVE_MINUTES) == Decimal("0.008")


def test_every_shipped_model_is_complete_and_its_source_dated():
    for base_id, places in CATALOG.models.items():
        assert places, base_id
        for place, facts in places.items():
            rates = facts.prices.base
            assert "read 2026-11-22" in facts.prices.source
            assert facts.base_id == base_id
            assert facts.family is (Family.NOVA if base_id.startswith("amazon.nova") else Family.ANTHROPIC)
            assert 0 < rates.cache_read < rates.input <= rates.cache_write_5m, (base_id, place)
            assert rates.cache_write_1h is None or Ttl.ONE_HOUR in facts.ttls, (base_id, place)
            assert rates.cache_write(Ttl.ONE_HOUR) == 2 * rates.input, (base_id, place)
            assert facts.tools_cacheable is (facts.family is Family.ANTHROPIC)
            assert facts.min_tokens in {512, 1024, 1536, 2048, 4096}
            assert facts.min_max_tokens == 1


# -- steps --------------------------------------------------------------------------------------------------------


def test_haiku_5_5_costs_five_times_as_much_above_one_hundred_thousand_tokens():
    stepped = prices(f"global.{HAIKU_STEPPED}")
    assert figures(rates_for(stepped, 100_000)) == "0.1 / 0.5 / 0.125 / 0.2 / 0.01"
    assert figures(rates_for(stepped, 100_001)) == "0.5 / 2.5 / 0.625 / 1 / 0.05"


def test_the_whole_prompt_decides_the_step_and_every_token_is_billed_at_it():
    stepped = prices(f"global.{HAIKU_STEPPED}")
    below = usage(input_tokens=1, read=60_000, write=39_999, output=1)
    above = usage(input_tokens=2, read=60_000, write=39_999, output=1)
    assert cost_usd(stepped, below, Ttl.FIVE_MINUTES) == Decimal("0.005600475")
    assert cost_usd(stepped, above, Ttl.FIVE_MINUTES) == Decimal("0.028002875")


def test_sonnet_4_5_costs_double_above_two_hundred_thousand_tokens():
    assert figures(rates_for(prices(SONNET), 200_001)) == "6 / 22.5 / 7.5 / 12 / 0.6"


@given(tokens=st.integers(0, 1_000_000), bounds=st.lists(st.integers(1, 900_000), unique=True, max_size=4))
def test_the_highest_step_that_is_exceeded_counts_whatever_the_order_in_the_file(tokens, bounds):
    row = {"input": 0, "output": 0, "cache_read": 0}
    steps = [row | {"above_tokens": bound, "input": bound} for bound in bounds]
    found = rates_for(parse_prices(row | {"steps": steps}, "prices", "test"), tokens)
    assert found.input == max((bound for bound in bounds if tokens > bound), default=0)


# -- ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geography", GEOGRAPHIES)
def test_a_geography_is_told_from_the_model(geography):
    assert parse_model_id(f"{geography}.{SONNET}") == ModelName(SONNET, geography)


@pytest.mark.parametrize(
    ("model_id", "base_id", "geography"),
    [
        (SONNET, SONNET, ""),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", SONNET, ""),
        (f"arn:aws:bedrock:::foundation-model/{SONNET}", SONNET, ""),
        (f"arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.{SONNET}", SONNET, "eu"),
        (f"arn:aws:bedrock:us-east-1:111122223333:inference-profile/global.{SONNET}", SONNET, "global"),
        (f"arn:aws-us-gov:bedrock:us-gov-west-1:111122223333:inference-profile/us-gov.{SONNET}", SONNET, "us-gov"),
        ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3", "a1b2c3", ""),
        ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/p1", "p1", ""),
        ("us.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5", "us"),
        ("usual.model", "usual.model", ""),
        ("eu.model", "eu.model", ""),
        ("", "", ""),
    ],
)
def test_an_id_of_any_form_is_taken_apart(model_id, base_id, geography):
    assert parse_model_id(model_id) == ModelName(base_id, geography)


@pytest.mark.parametrize(
    "model_id",
    [f"eu.{SONNET}", f"arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.{SONNET}"],
)
def test_an_arn_finds_what_its_id_finds(model_id):
    assert figures(prices(model_id, "eu-central-1").base) == "3.3 / 16.5 / 4.125 / 6.6 / 0.33"


# -- usage to USD -------------------------------------------------------------------------------------------------


def usage(input_tokens: int = 0, read: int = 0, write: int = 0, output: int = 0, write_1h: int | None = None) -> Usage:
    return Usage(input_tokens, output, read, write, write_1h)


def test_every_kind_of_token_has_its_price():
    sonnet = prices(SONNET)
    assert cost_usd(sonnet, usage(input_tokens=1_000), Ttl.FIVE_MINUTES) == Decimal("0.003")
    assert cost_usd(sonnet, usage(output=1_000), Ttl.FIVE_MINUTES) == Decimal("0.015")
    assert cost_usd(sonnet, usage(read=1_000), Ttl.FIVE_MINUTES) == Decimal("0.0003")
    assert cost_usd(sonnet, usage(write=1_000), Ttl.FIVE_MINUTES) == Decimal("0.00375")
    assert cost_usd(sonnet, usage(write=1_000), Ttl.ONE_HOUR) == Decimal("0.006")


def test_a_split_of_the_written_tokens_counts_more_than_the_ttl_asked_for():
    sonnet = prices(SONNET)
    mixed = usage(write=3_000, write_1h=1_000)
    assert cost_usd(sonnet, mixed, Ttl.ONE_HOUR) == cost_usd(sonnet, mixed, Ttl.FIVE_MINUTES) == Decimal("0.0135")
    assert cost_usd(sonnet, usage(write=1_000, write_1h=0), Ttl.ONE_HOUR) == Decimal("0.00375")


def test_a_one_hour_write_without_a_price_counts_double_input():
    assert write_cost_usd(prices("amazon.nova-pro-v1:0"), 1_000_000, Ttl.ONE_HOUR) == Decimal("1.6")


def test_reading_instead_of_writing_saves_the_difference_and_never_a_negative_one():
    sonnet = prices(SONNET)
    assert write_cost_usd(sonnet, 10_000, Ttl.FIVE_MINUTES) == Decimal("0.0375")
    assert read_cost_usd(sonnet, 10_000) == Decimal("0.003")
    assert avoided_write_usd(sonnet, 10_000, Ttl.FIVE_MINUTES) == Decimal("0.0345")
    assert avoided_write_usd(sonnet, 10_000, Ttl.ONE_HOUR) == Decimal("0.057")
    odd = Prices(Rates(Decimal(1), Decimal(1), cache_read=Decimal(2), cache_write_5m=Decimal(0)))
    assert avoided_write_usd(odd, 10_000, Ttl.FIVE_MINUTES) == 0


TOKENS = st.integers(0, 90_000)


@given(first=st.tuples(TOKENS, TOKENS, TOKENS), second=st.tuples(TOKENS, TOKENS, TOKENS), ttl=st.sampled_from(Ttl))
def test_without_a_step_costs_add_up_to_the_last_decimal(first, second, ttl):
    sonnet = prices("global.anthropic.claude-sonnet-4-6")
    together = usage(*(one + other for one, other in zip(first, second, strict=True)))
    separate = cost_usd(sonnet, usage(*first), ttl) + cost_usd(sonnet, usage(*second), ttl)
    assert cost_usd(sonnet, together, ttl) == separate


@given(tokens=st.integers(0, 1_000_000), ttl=st.sampled_from(Ttl), model_id=st.sampled_from([SONNET, HAIKU_STEPPED]))
def test_a_prefix_costs_what_a_request_of_nothing_else_costs(tokens, ttl, model_id):
    found = prices(model_id)
    assert write_cost_usd(found, tokens, ttl) == cost_usd(found, usage(write=tokens), ttl)
    assert read_cost_usd(found, tokens) == cost_usd(found, usage(read=tokens), ttl)


@pytest.mark.parametrize(
    ("write", "write_1h", "ttl"),
    [
        (0, None, None),
        (0, 0, None),
        (100, None, None),
        (100, 0, Ttl.FIVE_MINUTES),
        (100, 100, Ttl.ONE_HOUR),
        # Both ttls in one request: the last cache point, which is the one kept warm, is the 5m one.
        (100, 60, Ttl.FIVE_MINUTES),
    ],
)
def test_the_billed_ttl_is_what_the_last_cache_point_was_written_for(write, write_1h, ttl):
    assert billed_ttl(usage(write=write, write_1h=write_1h)) is ttl


# -- a catalog of one's own ---------------------------------------------------------------------------------------

ROW = {"input": "1", "output": 2, "cache_read": 0.1, "cache_write_5m": "1.25"}


def one_model(**changes: object) -> dict:
    return {"models": {"m": {"family": "nova", "min_tokens": 1024, "ttls": ["5m"], "prices": {"": ROW}} | changes}}


def test_a_catalog_of_ones_own_is_read_with_exact_decimals():
    data = one_model(min_max_tokens=16, tools_cacheable=False)
    facts = parse_catalog(data).find("m", "eu-central-1")
    assert facts is not None
    assert facts.prices.base == Rates(Decimal(1), Decimal(2), Decimal("0.1"), Decimal("1.25"))
    assert facts.prices.source == "catalog, read on an unknown day"
    assert (facts.min_max_tokens, facts.tools_cacheable) == (16, False)
    assert parse_catalog(data | {"_about": "mine"}).models == parse_catalog(data).models


def test_the_source_names_where_the_prices_are_from_and_when():
    data = one_model() | {"_about": {"prices_from": "my contract", "read_on": "2026-12-01"}}
    facts = parse_catalog(data).find("m", "eu-central-1")
    assert facts is not None
    assert facts.prices.source == "my contract, read 2026-12-01"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ([], "models"),
        ({}, "models"),
        ({"models": []}, "models"),
        ({"models": {"m": []}}, "models.m"),
        (one_model(prices=None), "models.m"),
        (one_model(family="llama"), "models.m"),
        (one_model(ttls=["2h"]), "models.m"),
        (one_model(ttls=None), "models.m"),
        (one_model(min_tokens="many"), "models.m"),
        (one_model(prices={"": 1}), "models.m.prices.(plain)"),
        (one_model(prices={"eu": {"input": 1}}), "models.m.prices.eu.output"),
        (one_model(prices={"": ROW | {"cache_read": None}}), "models.m.prices.(plain).cache_read"),
        (one_model(prices={"": ROW | {"cache_read": "free"}}), "models.m.prices.(plain).cache_read"),
        (one_model(prices={"": ROW | {"cache_read": -1}}), "models.m.prices.(plain).cache_read"),
        (one_model(prices={"": ROW | {"cache_write_1h": "Infinity"}}), "models.m.prices.(plain).cache_write_1h"),
        (one_model(prices={"": ROW | {"steps": None}}), "models.m.prices.(plain).steps"),
        (one_model(prices={"": ROW | {"steps": [1]}}), "models.m.prices.(plain).steps[0]"),
        (one_model(prices={"": ROW | {"steps": [ROW]}}), "models.m.prices.(plain).steps[0].above_tokens"),
        (
            one_model(prices={"": ROW | {"steps": [ROW | {"above_tokens": True}]}}),
            "models.m.prices.(plain).steps[0].above_tokens",
        ),
    ],
)
def test_a_bad_catalog_is_refused_with_the_place(data, key):
    with pytest.raises(CatalogError) as caught:
        parse_catalog(data)
    assert caught.value.key == key
    assert str(caught.value) == f"{key}: {caught.value.message}"


def test_prices_of_a_registry_entry_are_read_alone():
    assert parse_rates(ROW, "prices").cache_write_1h is None
    assert parse_prices(ROW, "prices", "registry").source == "registry"
