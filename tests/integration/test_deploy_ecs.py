"""The templates of deploy/ecs: read by the linters of the field, and created and updated in moto's server over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from keepwarm.emulator import Emulator
from keepwarm.model import Route
from keepwarm.permissions import Identity, Sources, policy
from keepwarm.settings import load_settings
from tests.builders import CLAUDE, NOVA, make_prefix, shipped_catalog
from tests.daemons import TIME_SCALE, soon, write_registry
from tests.processes import Child

ECS = Path(__file__).parents[2] / "deploy" / "ecs"
TEMPLATE = ECS / "keepwarm.yaml"
STACK = "keepwarm"


def run(*command: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False, timeout=110)


class _Loader(yaml.SafeLoader):
    """Reads a template's short functions as mappings of their names."""


_Loader.add_multi_constructor("!", lambda loader, name, node: {name: _plain(loader, node)})


def _plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


@pytest.mark.system("cfn-lint")
def test_cfn_lint_has_nothing_to_say():
    found = run("cfn-lint", "-t", TEMPLATE)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.system("checkov")
def test_checkov_finds_nothing_but_what_is_explained():
    found = json.loads(run("checkov", "-f", TEMPLATE, "--skip-download", "-o", "json").stdout)
    assert [check["check_id"] for check in found["results"]["failed_checks"]] == []
    assert all(check["check_result"]["suppress_comment"] for check in found["results"]["skipped_checks"])
    assert found["summary"]["passed"] > 20


@pytest.mark.system("checkov")
def test_checkov_finds_nothing_in_terraform():
    found = json.loads(run("checkov", "-d", ECS / "terraform", "--skip-download", "-o", "json").stdout)
    assert found["results"]["failed_checks"] == []
    assert found["summary"]["passed"] > 1


def test_terraform_asks_for_the_parameters_without_default_of_the_template():
    parameters = yaml.load(TEMPLATE.read_text(), _Loader)["Parameters"]
    needed = {name for name, parameter in parameters.items() if "Default" not in parameter} - {"PingPolicyArn"}
    (asked,) = re.findall(r"for name in \[(.*?)\]", (ECS / "terraform" / "main.tf").read_text())
    assert set(json.loads(f"[{asked}]")) == needed


@pytest.mark.system("parliament")
def test_a_linter_of_policies_agrees_with_what_iam_policy_prints():
    role = "arn:aws:iam::210987654321:role/bedrock"
    prefixes = [
        make_prefix(metrics=True),
        make_prefix(model_id=NOVA, route=Route("us-east-1")),
        make_prefix(model_id=f"global.{CLAUDE.removeprefix('eu.')}"),
        make_prefix(route=Route("eu-central-1", role_arn=role)),
    ]
    sources = Sources(
        "/bedrock/calls", "s3://logs/of/bedrock", "eu-west-1", "arn:aws:sns:eu-west-1:123456789012:on-call"
    )
    found = _lint_policy(policy(Identity(), prefixes, sources, "123456789012"))
    # Both wrong: it wants every resource of InvokeModel to be of all its kinds at once, and a region without a star.
    assert found <= {"RESOURCE_MISMATCH", "INVALID_ARN"}


@pytest.mark.system("parliament")
def test_that_linter_knows_a_misspelt_action():
    statement = {"Effect": "Allow", "Action": "bedrock:InvokeModels", "Resource": "*"}
    assert "UNKNOWN_ACTION" in _lint_policy({"Version": "2012-10-17", "Statement": [statement]})


def _lint_policy(document: dict[str, Any]) -> set[str]:
    lines = run("parliament", "--json", stdin=json.dumps(document)).stdout.splitlines()
    return {json.loads(line)["issue"] for line in lines}


def test_two_tasks_never_hold_one_sqlite_ledger_and_replicas_on_postgresql_roll():
    service = yaml.load(TEMPLATE.read_text(), _Loader)["Resources"]["Service"]["Properties"]
    deployment = service["DeploymentConfiguration"]
    assert deployment["MinimumHealthyPercent"] == {"If": ["OnSqlite", 0, 100]}
    assert deployment["MaximumPercent"] == {"If": ["OnSqlite", 100, 200]}
    assert service["DesiredCount"] == {"If": ["OnSqlite", 1, {"Ref": "Replicas"}]}


# -- a stack in moto ----------------------------------------------------------------------------------------------


class Aws:
    """moto's whole server in a process of its own, with a network, a policy and secrets in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        ec2 = self.client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [self._subnet(ec2, number) for number in range(2)]
        document = json.dumps(policy(Identity(), [make_prefix()], Sources()))
        self.ping_policy = self.client("iam").create_policy(PolicyName="ping", PolicyDocument=document)["Policy"]["Arn"]
        self.formation = self.client("cloudformation")

    def _subnet(self, ec2: Any, number: int) -> str:
        zone = f"eu-central-1{'ab'[number]}"
        found = ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)
        return str(found["Subnet"]["SubnetId"])

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-central-1",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
        )

    def secret(self, name: str, value: str) -> str:
        return str(self.client("secretsmanager").create_secret(Name=name, SecretString=value)["ARN"])

    def parameters(self, **more: str) -> list[dict[str, str]]:
        chosen = {
            "VpcId": self.vpc,
            "SubnetA": self.subnets[0],
            "SubnetB": self.subnets[1],
            "Image": "keepwarm:test",
            "PingPolicyArn": self.ping_policy,
            "TokenSecretArn": self.secret(f"token-{len(more)}", "open sesame"),
        }
        return [{"ParameterKey": key, "ParameterValue": value} for key, value in (chosen | more).items()]

    def change(self, how: str, **parameters: str) -> dict[str, str]:
        """Create or update the stack; its outputs."""
        getattr(self.formation, f"{how}_stack")(
            StackName=STACK,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=self.parameters(**parameters),
            Capabilities=["CAPABILITY_IAM"],
        )
        (stack,) = self.formation.describe_stacks(StackName=STACK)["Stacks"]
        assert stack["StackStatus"] == f"{how.upper()}_COMPLETE"
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def kinds(self) -> set[str]:
        found = self.formation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
        return {resource["ResourceType"] for resource in found}

    def service(self, outputs: dict[str, str]) -> Any:
        ecs = self.client("ecs")
        names = {"cluster": outputs["ClusterName"], "services": [outputs["ServiceName"]]}
        return ecs.describe_services(**names)["services"][0]

    def environment(self, outputs: dict[str, str]) -> dict[str, str]:
        """The environment of the task's container; a secret by its ARN."""
        found = self.client("ecs").describe_task_definition(taskDefinition=outputs["TaskDefinitionArn"])
        (container,) = found["taskDefinition"]["containerDefinitions"]
        secrets = filter(None, container["secrets"])  # moto keeps what AWS::NoValue takes away, as null
        return {one["name"]: one["value"] for one in container["environment"]} | {
            one["name"]: one["valueFrom"] for one in secrets
        }


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Aws]:
    port = free_port()
    program = shutil.which("moto_server")
    assert program
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            assert soon(lambda: _answers(port), 60)
            yield Aws(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(20)


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.system("moto_server")
def test_a_stack_is_created_with_its_ledger_on_efs_and_nobody_reaches_it(aws: Aws):
    outputs = aws.change("create")
    assert aws.service(outputs)["desiredCount"] == 1
    assert {"AWS::EFS::FileSystem", "AWS::EFS::MountTarget", "AWS::EFS::AccessPoint"} <= aws.kinds()
    assert "AWS::EC2::SecurityGroupIngress" not in aws.kinds()


@pytest.mark.system("moto_server")
def test_a_ledger_on_postgresql_comes_from_its_secret_and_needs_no_efs(aws: Aws):
    url = aws.secret("ledger", "postgresql+psycopg://keepwarm@db/keepwarm")
    key = aws.secret("key", "ab" * 32)
    outputs = aws.change("create", LedgerUrlSecretArn=url, FingerprintKeySecretArn=key, Replicas="2")
    assert aws.service(outputs)["desiredCount"] == 2
    assert aws.environment(outputs)["KEEPWARM_LEDGER_URL"] == url
    assert "AWS::EFS::FileSystem" not in aws.kinds()


@pytest.mark.system("moto_server")
def test_a_new_image_is_an_update(aws: Aws):
    before = aws.change("create")
    after = aws.change("update", Image="keepwarm:next", ReadTokenSecretArn=aws.secret("read", "look"))
    assert after["TaskDefinitionArn"] != before["TaskDefinitionArn"]
    assert after["ClusterName"] == before["ClusterName"]


@pytest.mark.system("moto_server")
def test_every_variable_that_the_task_sets_is_one_of_keepwarms_settings(aws: Aws, monkeypatch: pytest.MonkeyPatch):
    for name, value in aws.environment(aws.change("create")).items():
        monkeypatch.setenv(name, value)
    assert load_settings(os.environ).listen == "0.0.0.0:8378"


@pytest.mark.system("moto_server")
def test_the_tasks_command_runs_with_its_environment_on_a_registry_in_s3(aws: Aws, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    write_registry(source / "registry.yaml", "a", defaults={"policy": "busy_hours"})
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="prompts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for path in source.iterdir():
        s3.upload_file(str(path), "prompts", f"team/{path.name}")
    task = aws.environment(aws.change("create", RegistryUri="s3://prompts/team/registry.yaml"))
    port = free_port()
    task["KEEPWARM_TOKEN"] = "open sesame"  # what ECS would read from the secret
    task["KEEPWARM_LISTEN"] = task["KEEPWARM_LISTEN"].replace("8378", str(port))
    task["KEEPWARM_STATE_DIR"] = str(tmp_path / "volume")
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE) as emulator:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_"))}
        environment |= task | {
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        child = Child(environment, tmp_path / "log.jsonl")
        try:
            assert soon(lambda: len(emulator.log) >= 2), child.text
            asked = subprocess.run(
                [sys.executable, "-m", "keepwarm", "health"], env=environment, timeout=60, check=False
            )
            assert asked.returncode == 0
            assert child.stop() == 0
        finally:
            child.kill()
    assert "open sesame" not in child.text


@pytest.mark.system("moto_server")
def test_the_page_on_ecs_deploys_this_template_with_parameters_that_it_has(aws: Aws):
    page = (ECS.parents[1] / "docs" / "how-to" / "ecs.md").read_text()
    (command,) = re.findall(r"^aws cloudformation deploy (.*?)^```", page, re.MULTILINE | re.DOTALL)
    words = command.replace("\\\n", " ").split()
    assert ECS.parents[1] / words[words.index("--template-file") + 1] == TEMPLATE
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z]\w+=", word))
    own = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in aws.parameters()}
    assert aws.change("create", **given | own)["ServiceName"]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def test_the_template_names_no_account_and_no_region():
    assert not re.search(r"\b\d{12}\b|\b(eu|us|ap)-[a-z]+-\d\b", TEMPLATE.read_text())
