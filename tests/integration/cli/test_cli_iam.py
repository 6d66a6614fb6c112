from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.cli.conftest import REGISTRY, Shell
from tests.receiver import Receiver

ROLE = "arn:aws:iam::210987654321:role/bedrock"


def test_the_policy_names_what_the_registry_needs_and_asks_nobody(shell: Shell, offline: Callable[[], None]):
    offline()
    document = json.loads(shell("iam-policy", "--account", "123456789012").stdout)
    found = {resource for statement in document["Statement"] for resource in statement["Resource"]}
    assert "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-5-5" in found
    assert "arn:aws:bedrock:eu-central-1::foundation-model/amazon.nova-lite-v1:0" in found
    assert len(found) == 5


def test_a_source_of_traffic_in_the_settings_is_allowed_too(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEPWARM_TRAFFIC_LOG_GROUP", "/bedrock/calls")
    assert "logs:FilterLogEvents" in shell("iam-policy").stdout


def test_each_role_of_the_registry_is_told_of_and_has_its_own_policy(shell: Shell):
    shell.registry.write_text(
        REGISTRY.replace("    region: us-east-1\n", f"    region: us-east-1\n    role_arn: {ROLE}\n")
    )
    result = shell("iam-policy")
    assert f"also needed: keepwarm iam-policy --role {ROLE}" in result.stderr
    assert "sts:AssumeRole" in result.stdout
    assert "haiku" not in result.stdout
    own = shell("iam-policy", "--role", ROLE).stdout
    assert "us-east-1:210987654321:inference-profile/us.anthropic.claude-haiku-5-5" in own
    assert "sonnet" not in own


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--account", "1234"], "--account 1234: write twelve digits"),
        (["--role", ROLE], "the registry names: none but the default credentials"),
    ],
)
def test_wrong_options_are_told_in_words(shell: Shell, arguments: list[str], told: str):
    result = shell("iam-policy", *arguments, exit_code=2)
    assert told in " ".join(result.stderr.split())
    assert not result.stdout


def test_destination_regions_can_be_asked_for(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    models = [f"arn:aws:bedrock:{region}::foundation-model/x" for region in ("eu-west-3", "eu-north-1")]
    with Receiver() as control_plane:
        control_plane.content = json.dumps({"models": [{"modelArn": arn} for arn in models]}).encode()
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", control_plane.url)
        document = json.loads(shell("iam-policy", "--lookup").stdout)
    (behind,) = [one for one in document["Statement"] if one["Sid"] == "ModelsOfProfiles1"]
    assert behind["Resource"] == sorted(models)
    assert [path for path, _ in control_plane.heads] == [
        "/inference-profiles/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        "/inference-profiles/us.anthropic.claude-haiku-5-5",
    ]


def test_a_refused_question_says_what_to_grant(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    with Receiver() as control_plane:
        control_plane.always = 403
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", control_plane.url)
        result = shell("iam-policy", "--lookup", exit_code=1)
    assert "support-bot" in result.stderr
    assert "bedrock:GetInferenceProfile" in result.stderr
