from __future__ import annotations

from typing import Any

import pytest

from keepwarm.model import Route
from keepwarm.permissions import Identity, Sources, identities, policy
from tests.builders import CLAUDE, NOVA, facts_of, make_prefix

ROLE = "arn:aws:iam::210987654321:role/bedrock"
GOV = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ACCOUNT = "123456789012"
PROFILE = f"arn:aws:bedrock:eu-central-1:{ACCOUNT}:inference-profile/{CLAUDE}"


def allowed(document: dict[str, Any], sid: str) -> dict[str, Any]:
    (found,) = [statement for statement in document["Statement"] if statement["Sid"] == sid]
    return found


def resources(document: dict[str, Any]) -> set[str]:
    return {resource for statement in document["Statement"] for resource in statement["Resource"]}


def test_a_model_behind_a_profile_is_allowed_in_its_geography_and_through_that_profile_only():
    document = policy(Identity(), [make_prefix()], Sources(), ACCOUNT)
    assert allowed(document, "PingThroughProfiles")["Resource"] == [PROFILE]
    models = allowed(document, "ModelsOfProfiles1")
    assert models["Resource"] == ["arn:aws:bedrock:eu-*::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"]
    assert models["Condition"] == {"ArnLike": {"bedrock:InferenceProfileArn": [PROFILE]}}


def test_nothing_but_invoke_model_is_allowed_for_pings():
    prefixes = [make_prefix(), make_prefix(model_id=NOVA)]
    document = policy(Identity(), prefixes, Sources(), ACCOUNT)
    assert {action for statement in document["Statement"] for action in statement["Action"]} == {"bedrock:InvokeModel"}


def test_a_plain_model_is_allowed_in_its_own_region_only():
    document = policy(Identity(), [make_prefix(model_id=NOVA, route=Route("us-east-1"))], Sources(), ACCOUNT)
    assert resources(document) == {f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"}


def test_told_destinations_stand_in_for_the_whole_geography():
    told = [f"arn:aws:bedrock:{region}::foundation-model/x" for region in ("eu-west-3", "eu-north-1")]
    document = policy(Identity(), [make_prefix()], Sources(), ACCOUNT, {("eu-central-1", CLAUDE): told})
    assert allowed(document, "ModelsOfProfiles1")["Resource"] == sorted(told)


def test_profiles_with_the_same_models_share_a_statement():
    prefixes = [make_prefix(), make_prefix(route=Route("eu-west-1"))]
    document = policy(Identity(), prefixes, Sources(), ACCOUNT)
    assert [statement["Sid"] for statement in document["Statement"]] == ["PingThroughProfiles", "ModelsOfProfiles1"]
    assert len(allowed(document, "ModelsOfProfiles1")["Condition"]["ArnLike"]["bedrock:InferenceProfileArn"]) == 2


def test_a_global_profile_needs_every_region_and_the_arn_without_one():
    model = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
    document = policy(Identity(), [make_prefix(model_id=model)], Sources(), ACCOUNT)
    base = "foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert allowed(document, "ModelsOfProfiles1")["Resource"] == [
        f"arn:aws:bedrock:*::{base}",
        f"arn:aws:bedrock:::{base}",
    ]


def test_an_application_profile_is_named_by_its_own_arn():
    arn = f"arn:aws:bedrock:eu-central-1:{ACCOUNT}:application-inference-profile/abc123"
    document = policy(Identity(), [make_prefix(model_id=arn, facts=facts_of(CLAUDE))], Sources())
    assert allowed(document, "PingThroughProfiles")["Resource"] == [arn]
    assert allowed(document, "ModelsOfProfiles1")["Resource"][0].startswith("arn:aws:bedrock:*::foundation-model/anthr")


@pytest.mark.parametrize(
    ("region", "model", "start"),
    [
        ("us-gov-west-1", f"us-gov.{GOV}", "arn:aws-us-gov:bedrock:us-gov-west-1:"),
        ("cn-north-1", NOVA, "arn:aws-cn:bedrock:cn-north-1:"),
    ],
)
def test_other_partitions_have_their_own_arns(region: str, model: str, start: str):
    prefix = make_prefix(model_id=model, route=Route(region), facts=facts_of(NOVA))
    found = resources(policy(Identity(), [prefix], Sources()))
    assert any(resource.startswith(start) for resource in found)
    assert {resource.split(":")[1] for resource in found} == {start.split(":")[1]}


def test_each_profile_and_role_has_a_policy_of_its_own():
    prefixes = [
        make_prefix(),
        make_prefix(route=Route("eu-central-1", role_arn=ROLE)),
        make_prefix(model_id=NOVA, route=Route("us-east-1", profile="other")),
    ]
    assert identities(prefixes) == [Identity(), Identity("other"), Identity(None, ROLE)]
    own = policy(Identity(), prefixes, Sources(), ACCOUNT)
    assert allowed(own, "AssumeRoles")["Resource"] == [ROLE]
    assert not any(NOVA in resource for resource in resources(own))
    assert resources(policy(Identity("other"), prefixes, Sources())) == {
        f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"
    }
    assumed = policy(Identity(None, ROLE), prefixes, Sources(), ACCOUNT)
    assert allowed(assumed, "PingThroughProfiles")["Resource"] == [PROFILE.replace(ACCOUNT, "210987654321")]


def test_sources_of_traffic_and_alerts_are_allowed_to_the_default_credentials_alone():
    sources = Sources("/bedrock/calls", "s3://logs/of/bedrock/", "eu-west-1", "arn:aws:sns:eu-west-1:1:on-call")
    prefixes = [make_prefix(metrics=True), make_prefix(route=Route("eu-central-1", role_arn=ROLE))]
    document = policy(Identity(), prefixes, sources, ACCOUNT)
    group = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/bedrock/calls"
    assert allowed(document, "ReadInvocationLogs")["Resource"] == [group, f"{group}:*"]
    assert allowed(document, "ListInvocationLogs")["Resource"] == ["arn:aws:s3:::logs"]
    assert allowed(document, "GetInvocationLogs")["Resource"] == ["arn:aws:s3:::logs/of/bedrock/*"]
    assert allowed(document, "ReadMetrics")["Resource"] == ["*"]
    assert allowed(document, "SendAlerts")["Resource"] == ["arn:aws:sns:eu-west-1:1:on-call"]
    others = policy(Identity(None, ROLE), prefixes, sources, ACCOUNT)
    assert {action for statement in others["Statement"] for action in statement["Action"]} == {"bedrock:InvokeModel"}


def test_a_registry_in_s3_or_ssm_may_be_read_with_what_lies_beside_it():
    document = policy(Identity(), [], Sources(registry_bucket="prompts", registry_folder="team/"), ACCOUNT)
    assert allowed(document, "ListRegistry")["Condition"] == {"StringLike": {"s3:prefix": "team/*"}}
    assert allowed(document, "GetRegistry")["Resource"] == ["arn:aws:s3:::prompts/team/*"]
    document = policy(Identity(), [], Sources(registry_folder="/team/"), ACCOUNT)
    parameter = f"arn:aws:ssm:*:{ACCOUNT}:parameter/team"
    assert allowed(document, "GetRegistry")["Resource"] == [parameter, f"{parameter}/*"]


def test_a_registry_without_prefixes_of_the_default_credentials_only_assumes():
    document = policy(Identity(), [make_prefix(route=Route("eu-central-1", role_arn=ROLE))], Sources())
    assert [statement["Sid"] for statement in document["Statement"]] == ["AssumeRoles"]
