"""What a good registry becomes: prefixes whose pings name the same cache entries as production does."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from keepwarm.errors import ConfigError
from keepwarm.model import AdaptivePolicy, Api, Family, IdleLimitPolicy, Prefix, Rates, Route, Ttl
from keepwarm.pricing import Catalog
from keepwarm.registry import Registry, load_catalog, load_registry
from keepwarm.registry.schema import BusyHoursEntry, PrefixEntry, SystemShorthand

ROOT = Path(__file__).parent.parent.parent
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = b"key of the tests"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
TEXT = "Answer in one sentence. " * 300
POINT = {"cachePoint": {"type": "default"}}
POINT_1H = {"cachePoint": {"type": "default", "ttl": "1h"}}
QUESTION = [{"role": "user", "content": [{"text": "Hello."}]}]
LEAST = "region: eu-central-1\n    busy_hours: always\n    "


class Desk:
    """A directory in which registries and requests are written and loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalog: Catalog = load_catalog(None)

    def request(self, name: str, content: Any) -> None:
        (self.path / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def load(self, text: str) -> Registry:
        path = self.path / "registry.yaml"
        path.write_text(text)
        return load_registry(path, self.catalog, KEY, NOW)

    def entries(self, *entries: str, head: str = "") -> Registry:
        return self.load(f"version: 1\n{head}prefixes:\n" + "".join(f"  - {entry}\n" for entry in entries))

    def entry(self, keys: str, request: Any = None, head: str = "") -> Prefix:
        """The one prefix of a registry with these keys, by default Converse on Claude with a text of 1,800 tokens."""
        self.request("request.json", request or {"system": [{"text": TEXT}, POINT], "messages": QUESTION})
        least = {
            "name": "a",
            "region": "eu-central-1",
            "busy_hours": "always",
            "api": "converse",
            "model_id": CLAUDE,
            "request": "request.json",
        }
        given = {line.split(":")[0].strip() for line in keys.splitlines()}
        if "system" in given:
            del least["request"]
        lines = [f'{name}: "{value}"' for name, value in least.items() if name not in given] + keys.splitlines()
        return self.entries("\n    ".join(lines), head=head).prefixes[0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def sent(prefix: Prefix) -> Any:
    """What the ping sends, with an InvokeModel body parsed."""
    request = dict(prefix.ping_request)
    if "body" in request:
        request["body"] = json.loads(request["body"])
    return request


# -- the ping of each dialect -------------------------------------------------------------------------------------


def test_a_converse_request_is_replayed_up_to_its_last_cache_point(desk):
    request = {
        "modelId": CLAUDE,
        "system": [{"text": TEXT}, POINT_1H, {"text": "It is Monday."}],
        "messages": QUESTION,
        "inferenceConfig": {"maxTokens": 800, "temperature": 0.2},
        "requestMetadata": {"team": "support"},
    }
    prefix = desk.entry("ttl: 1h", request)

    assert sent(prefix) == {
        "system": [{"text": TEXT}, POINT_1H],
        "messages": [{"role": "user", "content": [{"text": "."}]}],
        "inferenceConfig": {"maxTokens": 1, "temperature": 0.2},
    }
    assert (prefix.ttl, prefix.lifetime, prefix.margin) == (Ttl.ONE_HOUR, timedelta(hours=1), timedelta(minutes=2))
    assert prefix.estimated_tokens == pytest.approx(len(TEXT) / 4, rel=0.01)


def test_an_anthropic_body_is_replayed_with_both_of_its_ttls(desk):
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["some-beta"],
        "max_tokens": 800,
        "stream": True,
        "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Hello."},
        ],
    }
    prefix = desk.entry("api: invoke_model\nttl: 5m", body)
    found = sent(prefix)["body"]

    assert prefix.ttl is Ttl.FIVE_MINUTES
    assert found["messages"] == body["messages"][:1]
    assert (found["max_tokens"], found["anthropic_beta"], found["system"]) == (1, ["some-beta"], body["system"])
    assert "stream" not in found


def test_a_nova_body_is_replayed_with_the_name_of_its_own_output_limit(desk):
    body = {
        "system": [{"text": TEXT * 2} | POINT],
        "messages": QUESTION,
        "inferenceConfig": {"max_new_tokens": 800},
    }
    prefix = desk.entry("api: invoke_model\nmodel_id: eu.amazon.nova-pro-v1:0", body)
    assert sent(prefix)["body"] == {
        "system": body["system"],
        "messages": [{"role": "user", "content": [{"text": "."}]}],
        "inferenceConfig": {"max_new_tokens": 1},
    }
    assert prefix.facts.family is Family.NOVA


def test_an_invoke_model_request_may_be_the_keyword_arguments_of_the_call(desk):
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Hello."}],
    }
    settings = {
        "guardrailIdentifier": "gr",
        "guardrailVersion": "1",
        "serviceTier": "priority",
        "performanceConfigLatency": "optimized",
    }
    plain = desk.entry("api: invoke_model", body)
    wrapped = desk.entry("api: invoke_model", {"modelId": CLAUDE, "body": body})
    as_text = desk.entry("api: invoke_model", {"body": json.dumps(body)})
    guarded = desk.entry("api: invoke_model", {"body": body} | settings)

    assert plain.fingerprint == wrapped.fingerprint == as_text.fingerprint != guarded.fingerprint
    assert {name: guarded.ping_request[name] for name in settings} == settings
    assert guarded.ping_request["body"] == plain.ping_request["body"]


def test_one_file_serves_prefixes_of_several_models_unless_it_names_its_own(desk):
    other = CLAUDE.replace("eu.", "global.")
    assert other != CLAUDE
    request = {"system": [{"text": TEXT}, POINT], "messages": QUESTION}
    common = "region: eu-central-1, busy_hours: always, api: converse, request: r.json"
    both = [f"{{name: {name}, model_id: '{model_id}', {common}}}" for name, model_id in (("a", CLAUDE), ("b", other))]
    desk.request("r.json", request)
    first, second = desk.entries(*both).prefixes
    assert first.ping_request == second.ping_request
    assert first.fingerprint != second.fingerprint

    desk.request("r.json", request | {"modelId": CLAUDE})
    with pytest.raises(ConfigError) as caught:
        desk.entries(*both)
    assert f"is {CLAUDE!r}, but the registry says {other!r}" in str(caught.value)


def test_settings_of_converse_that_lead_to_another_pool_are_kept_and_name_another_entry(desk):
    request = {"system": [{"text": TEXT}, POINT], "messages": QUESTION}
    plain = desk.entry("prewarm: true", request)
    for settings in (
        {"serviceTier": {"type": "priority"}},
        {"performanceConfig": {"latency": "optimized"}},
        {"guardrailConfig": {"guardrailIdentifier": "gr", "guardrailVersion": "1"}},
    ):
        changed = desk.entry("prewarm: true", request | settings)
        assert settings.items() <= changed.ping_request.items()
        assert changed.fingerprint != plain.fingerprint


def test_an_image_in_a_converse_request_is_base64_in_the_file_and_bytes_in_the_ping(desk):
    png = bytes(range(256))
    image = {"image": {"format": "png", "source": {"bytes": base64.b64encode(png).decode()}}}
    prefix = desk.entry("prewarm: true", {"messages": [{"role": "user", "content": [image, {"text": "What?"}, POINT]}]})
    assert sent(prefix)["messages"][0]["content"][0]["image"]["source"] == {"bytes": png}


def test_a_prefix_of_images_is_not_refused_for_its_size_since_nobody_can_tell_it(desk):
    image = {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}
    desk.request("r.json", {"messages": [{"role": "user", "content": [image, POINT]}]})
    registry = desk.entries(
        f"{{name: a, region: eu-central-1, busy_hours: always, api: converse, model_id: '{CLAUDE}', request: r.json}}"
    )
    assert (len(registry.prefixes), registry.warnings) == (1, ())


def test_thinking_is_left_out_of_a_ping_for_the_system_text_with_a_warning(desk):
    request = {
        "system": [{"text": TEXT}, POINT],
        "messages": QUESTION,
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    }
    desk.request("r.json", request)
    registry = desk.entries(
        f"{{name: a, region: eu-central-1, busy_hours: always, api: converse, model_id: '{CLAUDE}', request: r.json}}"
    )
    assert "additionalModelRequestFields" not in registry.prefixes[0].ping_request
    (warning,) = registry.warnings
    assert (warning.line, warning.key) == (3, "prefixes[0]")
    assert "leaves thinking out" in warning.message


# -- the shorthand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", ["5m", "1h"])
@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_a_system_text_gets_one_cache_point_at_its_end(desk, api, ttl):
    (desk.path / "prompt.md").write_text(TEXT)
    prefix = desk.entry(f"api: {api}\nttl: {ttl}\nsystem: {{file: prompt.md}}")
    converse = [{"text": TEXT}, POINT if ttl == "5m" else POINT_1H]
    anthropic = [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    found = sent(prefix) if api == "converse" else sent(prefix)["body"]
    assert found["system"] == (converse if api == "converse" else anthropic)
    assert prefix.ttl == ttl


def test_a_system_text_for_nova_is_marked_inside_its_block(desk):
    prefix = desk.entry(f'api: invoke_model\nmodel_id: eu.amazon.nova-pro-v1:0\nsystem: {{text: "{TEXT}"}}')
    assert sent(prefix)["body"]["system"] == [{"text": TEXT, "cachePoint": {"type": "default"}}]


def test_a_system_text_names_the_same_entry_as_the_request_that_production_sends(desk):
    shorthand = desk.entry(f'system: {{text: "{TEXT}"}}')
    request = desk.entry("prewarm: true", {"system": [{"text": TEXT}, POINT], "messages": QUESTION})
    assert shorthand.fingerprint == request.fingerprint


def test_an_entry_of_its_own_kind_puts_the_defaults_request_aside(desk):
    desk.request("r.json", {"system": [{"text": TEXT}, POINT], "messages": QUESTION})
    head = (
        f"defaults: {{region: eu-central-1, busy_hours: always, api: converse, model_id: '{CLAUDE}', "
        "request: r.json}\n"
    )
    first, second = desk.entries("name: a", f'{{name: b, system: {{text: "Other. {TEXT}"}}}}', head=head).prefixes
    assert first.fingerprint != second.fingerprint
    assert sent(second)["system"][0]["text"].startswith("Other.")


# -- models and prices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_id", "region"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "eu-central-1"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "ap-south-1"),
        (f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/{CLAUDE}", "eu-central-1"),
        ("arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", "eu-central-1"),
    ],
)
def test_every_way_to_name_a_model_finds_its_facts_and_is_sent_as_it_stands(desk, model_id, region):
    prefix = desk.entry(f"model_id: '{model_id}'\nregion: {region}")
    assert prefix.model_id == model_id
    assert prefix.facts.base_id == "anthropic.claude-sonnet-4-5-20250929-v1:0"


def test_an_application_profile_takes_its_facts_from_the_model_behind_it(desk):
    arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3"
    prefix = desk.entry(f"model_id: {arn}\nbase_model: {CLAUDE}")
    plain = desk.entry("prewarm: true")
    assert (prefix.model_id, prefix.facts) == (arn, plain.facts)
    assert prefix.fingerprint != plain.fingerprint


def test_an_unknown_model_brings_its_prices_steps_and_minimum(desk):
    prefix = desk.entry(
        "model_id: eu.anthropic.claude-opus-9\nmin_tokens: 1500\nttl: 1h\n"
        "prices:\n  input: 3\n  output: 15\n  cache_read: 0.3\n  cache_write_5m: 3.75\n  cache_write_1h: 6\n"
        "  steps: [{above_tokens: 200000, input: 6, output: 22.5, cache_read: 0.6}]",
        {"system": [{"text": TEXT}, POINT_1H], "messages": QUESTION},
    )
    prices = prefix.facts.prices
    assert prices.base == Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6))
    assert [(above, rates.output) for above, rates in prices.steps] == [(200000, Decimal("22.5"))]
    assert (prefix.facts.min_tokens, prefix.facts.ttls) == (1500, frozenset(Ttl))
    assert prices.source == f"the registry {desk.path / 'registry.yaml'}"


def test_an_unknown_nova_model_without_a_1h_price_sells_only_5m(desk):
    prefix = desk.entry(
        "model_id: eu.amazon.nova-9-v1:0\nmin_tokens: 1\nprices: {input: 1, output: 4, cache_read: 0.25}"
    )
    assert (prefix.facts.family, prefix.facts.ttls) == (Family.NOVA, frozenset({Ttl.FIVE_MINUTES}))


def test_own_prices_and_minimum_replace_those_of_a_known_model(desk):
    known = desk.entry("prewarm: true").facts
    own = desk.entry("min_tokens: 1700\nprices: {input: 1, output: 4, cache_read: 0.25, cache_write_5m: 1.5}").facts
    assert (own.min_tokens, own.prices.base.input) == (1700, Decimal(1))
    assert (own.ttls, own.base_id) == (known.ttls, known.base_id)


def test_steps_of_the_catalog_arrive_with_the_prefix(desk):
    prefix = desk.entry("model_id: eu.anthropic.claude-haiku-5-5")
    assert [above for above, _ in prefix.facts.prices.steps] == [100_000]


def test_a_catalog_file_replaces_and_adds_models(desk):
    path = desk.path / "models.json"
    row = {"family": "anthropic", "min_tokens": 7, "ttls": ["5m"]}
    rates = {"input": "1", "output": "2", "cache_read": "0.1"}
    sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    path.write_text(json.dumps({"models": {name: row | {"prices": {"eu": rates}} for name in (sonnet, "x.new")}}))

    found = load_catalog(path)
    assert {found.find(f"eu.{name}", "eu-central-1").min_tokens for name in (sonnet, "x.new")} == {7}
    assert found.find(f"us.{sonnet}", "us-east-1") is None
    assert found.find("eu.anthropic.claude-haiku-5-5", "eu-central-1") is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "models.json: cannot be read: No such file or directory"),
        ("{oops", "models.json: is not JSON: Expecting property name"),
        ("[]", "models.json: models: must be an object of base ids"),
        ('{"models": {"x": {}}}', "models.json: models.x: must have family, min_tokens, ttls and prices"),
        ("\udcff", "models.json: is not JSON: 'utf-8' codec"),
    ],
    ids=["missing", "broken", "list", "without prices", "latin-1"],
)
def test_a_catalog_file_that_cannot_be_used_is_refused_in_words(desk, content, words):
    path = desk.path / "models.json"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigError) as caught:
        load_catalog(path)
    assert words in str(caught.value)


# -- everything else of an entry ----------------------------------------------------------------------------------


def test_every_other_key_of_an_entry_arrives(desk):
    prefix = desk.entry(
        "name: support.bot_1\nlifetime: 20s\nmargin: 4s 500ms\npolicy: {idle_limit: 3}\nprewarm: false\n"
        "profile: support\nrole_arn: arn:aws:iam::123456789012:role/team/keepwarm\nprovisioned: true\n"
        "tags: {team: support, cost: '7'}"
    )
    assert (prefix.name, prefix.line) == ("support.bot_1", 3)
    assert (prefix.lifetime, prefix.margin) == (timedelta(seconds=20), timedelta(seconds=4.5))
    assert (prefix.policy, prefix.prewarm, prefix.provisioned) == (IdleLimitPolicy(3), False, True)
    assert prefix.route == Route("eu-central-1", "support", "arn:aws:iam::123456789012:role/team/keepwarm")
    assert prefix.tags == (("cost", "7"), ("team", "support"))


def test_what_an_entry_leaves_out_has_a_sensible_default(desk):
    prefix = desk.entry("busy_hours: always")
    assert (prefix.policy, prefix.prewarm, prefix.provisioned, prefix.tags) == (AdaptivePolicy(), True, False, ())
    assert (prefix.prewarm_lead, prefix.cold_start_usd, prefix.auto_ttl) == (timedelta(0), 0, False)
    assert (prefix.api, prefix.route) == (Api.CONVERSE, Route("eu-central-1"))
    assert (prefix.lifetime, prefix.margin) == (timedelta(minutes=5), timedelta(seconds=30))


def test_the_margin_of_a_shorter_lifetime_is_the_same_share_of_it(desk):
    assert desk.entry("lifetime: 30s").margin == timedelta(seconds=3)


def test_an_entry_goes_before_the_defaults(desk):
    head = "defaults: {margin: 20s, tags: {team: a}, prewarm: false}\n"
    prefix = desk.entry("margin: 30s\nprewarm: true", head=head)
    assert (prefix.margin, prefix.prewarm, prefix.tags) == (timedelta(seconds=30), True, (("team", "a"),))


def test_busy_hours_are_read_as_yaml_1_2_so_norway_and_night_shifts_need_no_quotes(desk):
    head = (
        "busy_hours:\n  nights:\n    timezone: Europe/Oslo\n    windows: [22:00-06:00, Sat 10:00-24:00]\n"
        "    holidays: NO\n    except: [2026-12-24..2026-12-31, 2027-01-04]\n"
    )
    hours = desk.entry("busy_hours: nights", head=head).busy_hours
    assert (hours.name, hours.timezone, hours.holidays) == ("nights", "Europe/Oslo", "NO")
    assert [(window.start_minute, window.end_minute) for window in hours.windows] == [(1320, 1800), (600, 1440)]
    assert hours.closed == ((date(2026, 12, 24), date(2026, 12, 31)), (date(2027, 1, 4), date(2027, 1, 4)))


def test_aliases_and_anchors_are_allowed(desk):
    head = "busy_hours:\n  a: &a {timezone: UTC, windows: [08:00-18:00]}\n  b: *a\n"
    assert desk.entry("busy_hours: b", head=head).busy_hours.name == "b"


def test_busy_hours_that_never_open_are_warned_of(desk):
    desk.request("r.json", {"system": [{"text": TEXT}, POINT], "messages": QUESTION})
    head = (
        "busy_hours:\n  past:\n    timezone: UTC\n    windows: [08:00-18:00]\n    except: [2026-01-01..2036-01-01]\n"
        f"defaults: {{region: eu-central-1, api: converse, model_id: '{CLAUDE}', busy_hours: past}}\n"
    )
    (warning,) = desk.entries("{name: a, request: r.json}", head=head).warnings
    assert (warning.line, warning.key) == (7, "defaults.busy_hours")
    assert warning.message == "'past' does not open within the next 400 days (for the prefix in line 9)"


def test_a_prefix_near_the_minimum_is_warned_of_and_one_without_prewarm_too(desk):
    desk.request("r.json", {"system": [{"text": "word " * 700}, POINT], "messages": QUESTION})
    registry = desk.entries(
        f"name: a\n    {LEAST}api: converse\n    model_id: {CLAUDE}\n    request: r.json\n    prewarm: false"
    )
    assert [(warning.line, warning.key) for warning in registry.warnings] == [
        (8, "prefixes[0].request"),
        (9, "prefixes[0].prewarm"),
    ]
    assert "has about 877 tokens, and anthropic.claude-sonnet-4-5-20250929-v1:0 caches from 1024 on" in str(
        registry.warnings[0]
    )
    assert "keepwarm ping a" in str(registry.warnings[0])


def test_tools_may_add_tokens_of_their_own_so_a_short_prefix_with_tools_is_only_warned_of(desk):
    tool = {"toolSpec": {"name": "t", "description": "d" * 100, "inputSchema": {"json": {"type": "object"}}}}
    desk.request("r.json", {"toolConfig": {"tools": [tool, POINT]}, "messages": QUESTION})
    registry = desk.entries(f"name: a\n    {LEAST}api: converse\n    model_id: {CLAUDE}\n    request: r.json")
    assert [warning.key for warning in registry.warnings] == ["prefixes[0].request"]


def test_one_request_file_may_serve_many_entries(desk):
    desk.request("r.json", {"system": [{"text": TEXT}, POINT], "messages": QUESTION})
    rows = [
        f"{{name: p{n}, region: '{region}', busy_hours: always, api: converse, model_id: '{CLAUDE}', request: r.json}}"
        for n, region in enumerate(["eu-central-1", "eu-west-1", "eu-west-3"])
    ]
    prefixes = desk.entries(*rows).prefixes
    assert len({prefix.fingerprint for prefix in prefixes}) == 3


@pytest.mark.parametrize(
    "change",
    [f"profile: other\nmodel_id: '{CLAUDE}'", "role_arn: arn:aws:iam::123456789012:role/x", "region: eu-west-1"],
)
def test_other_credentials_and_regions_name_other_entries(desk, change):
    assert desk.entry(change).fingerprint != desk.entry("prewarm: true").fingerprint


@pytest.mark.parametrize("change", ["name: other", "margin: 30s", "policy: {idle_limit: 1}", "tags: {a: b}"])
def test_what_does_not_reach_bedrock_names_the_same_entry(desk, change):
    assert desk.entry(change).fingerprint == desk.entry("prewarm: true").fingerprint


def test_a_prefix_shows_nothing_of_its_prompt(desk):
    prefix = desk.entry("prewarm: true", {"system": [{"text": "CANARY " + TEXT}, POINT], "messages": QUESTION})
    assert "CANARY" not in repr(prefix)
    assert "CANARY" not in prefix.fingerprint


def test_a_prefix_is_found_by_its_name_and_a_wrong_name_is_told_the_right_ones(desk):
    desk.entry("name: right")
    registry = load_registry(desk.path / "registry.yaml", desk.catalog, KEY, NOW)
    assert registry.find("right").name == "right"
    with pytest.raises(ConfigError, match=r"has no prefix 'wrong'; it has right"):
        registry.find("wrong")


# -- the registries that come with keepwarm -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["registry.yaml", "registry.example.yaml"])
def test_the_registries_in_config_load_and_their_prompts_are_long_enough(name):
    registry = load_registry(ROOT / "config" / name, load_catalog(None), KEY, NOW)
    assert all("published" in warning.message for warning in registry.warnings)
    for prefix in registry.prefixes:
        assert prefix.estimated_tokens > 1.5 * prefix.facts.min_tokens


def test_the_registry_in_config_has_one_prefix_of_each_api_and_is_always_busy():
    registry = load_registry(ROOT / "config" / "registry.yaml", load_catalog(None), KEY, NOW)
    assert [(prefix.api, prefix.ttl, prefix.busy_hours.name) for prefix in registry.prefixes] == [
        (Api.CONVERSE, Ttl.ONE_HOUR, "always"),
        (Api.INVOKE_MODEL, Ttl.FIVE_MINUTES, "always"),
    ]


def test_the_example_shows_every_key_there_is():
    text = (ROOT / "config" / "registry.example.yaml").read_text()
    for schema in (PrefixEntry, BusyHoursEntry, SystemShorthand):
        for name, field in schema.model_fields.items():
            assert f"{field.alias or name}:" in text
