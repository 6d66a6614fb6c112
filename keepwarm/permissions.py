"""What keepwarm must be allowed to do on AWS: the least IAM policy for a registry, as plain data.

It asks nobody and grants nothing. Where the destination regions of an inference profile are not told, models are
allowed in the regions of its geography, and only through that very profile: `bedrock:InferenceProfileArn` (Bedrock user
guide, "Prerequisites for inference profiles", read 2026-11-22).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keepwarm.model import Prefix
from keepwarm.pricing import parse_model_id

_INVOKE = ["bedrock:InvokeModel"]  # covers Converse; pings never stream

# The longest first, as one begins another.
_PARTITIONS = {
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-iso-": "aws-iso",
    "cn-": "aws-cn",
    "eusc-": "aws-eusc",
}
_REGIONS = {
    "us": "us-*",
    "us-gov": "us-gov-*",
    "eu": "eu-*",
    "apac": "ap-*",
    "jp": "ap-northeast-*",
    "in": "ap-south-*",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose policy it is: credentials that some prefixes are pinged with.

    Attributes:
        profile: of the AWS configuration; None for the default credentials.
        role_arn: the role assumed on top; None for none.
    """

    profile: str | None = None
    role_arn: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """What besides the registry the default credentials are used for; empty where not.

    Attributes:
        log_group: followed for organic requests.
        logs_uri: the same in S3, `s3://bucket/prefix`.
        region: of both, empty when it is not said.
        topic_arn: alerts go there.
        registry_bucket: in which the registry lies.
        registry_folder: what it lies below, there or in SSM.
    """

    log_group: str = ""
    logs_uri: str = ""
    region: str = ""
    topic_arn: str = ""
    registry_bucket: str = ""
    registry_folder: str = ""


def identities(prefixes: Iterable[Prefix]) -> list[Identity]:
    """Whose policies a registry needs: the default credentials first, then profiles and roles by name."""
    found = {Identity(prefix.route.profile, prefix.route.role_arn) for prefix in prefixes}
    return sorted(found | {Identity()}, key=lambda one: (one.role_arn or "", one.profile or ""))


def policy(
    identity: Identity,
    prefixes: Iterable[Prefix],
    sources: Sources,
    account: str = "*",
    destinations: Mapping[tuple[str, str], Iterable[str]] | None = None,
) -> dict[str, Any]:
    """The IAM policy document of one identity, in a stable order.

    Args:
        prefixes: of the whole registry; those of other identities only add the roles to assume.
        account: of inference profiles that are named by id, twelve digits; `*` when not known. The account of a role is
            in its ARN.
        destinations: ARNs of the models behind a profile, by region and model id, where AWS was asked for them.
    """
    everything = list(prefixes)
    own = [
        one for one in everything if (one.route.profile, one.route.role_arn) == (identity.profile, identity.role_arn)
    ]
    if identity.role_arn:
        account = identity.role_arn.split(":")[4]
    statements = _models(own, account, destinations or {})
    if identity.role_arn is None:
        roles = {
            one.route.role_arn for one in everything if one.route.role_arn and one.route.profile == identity.profile
        }
        statements += [_allow("AssumeRoles", ["sts:AssumeRole"], roles)] if roles else []
    if identity == Identity():
        statements += _sources(sources, everything, account)
    return {"Version": "2012-10-17", "Statement": statements}


def _models(
    prefixes: Iterable[Prefix], account: str, destinations: Mapping[tuple[str, str], Iterable[str]]
) -> list[dict[str, Any]]:
    direct: set[str] = set()
    behind: dict[str, set[str]] = defaultdict(set)
    for prefix in prefixes:
        arn = _arn(prefix, account)
        if is_profile(prefix):
            told = destinations.get((prefix.route.region, prefix.model_id))
            behind[arn].update(told or _anywhere(prefix))
        else:
            direct.add(arn)
    statements = [_allow("PingModels", _INVOKE, direct)] if direct else []
    if behind:
        statements.append(_allow("PingThroughProfiles", _INVOKE, behind))
    through: dict[frozenset[str], set[str]] = defaultdict(set)
    for profile, models in behind.items():
        through[frozenset(models)].add(profile)
    for number, (arns, profiles) in enumerate(sorted(through.items(), key=lambda one: sorted(one[0])), start=1):
        condition = {"ArnLike": {"bedrock:InferenceProfileArn": sorted(profiles)}}
        statements.append(_allow(f"ModelsOfProfiles{number}", _INVOKE, arns) | {"Condition": condition})
    return statements


def is_profile(prefix: Prefix) -> bool:
    """Whether a prefix goes through an inference profile, of AWS or of the account's own."""
    return "inference-profile/" in prefix.model_id or bool(parse_model_id(prefix.model_id).geography)


def _arn(prefix: Prefix, account: str) -> str:
    if prefix.model_id.startswith("arn:"):
        return prefix.model_id
    region = prefix.route.region
    if is_profile(prefix):
        return f"arn:{_partition(region)}:bedrock:{region}:{account}:inference-profile/{prefix.model_id}"
    return f"arn:{_partition(region)}:bedrock:{region}::foundation-model/{prefix.model_id}"


def _anywhere(prefix: Prefix) -> set[str]:
    """Where the models of a profile may be when nobody has told."""
    partition, geography = _partition(prefix.route.region), parse_model_id(prefix.model_id).geography
    model = f"foundation-model/{prefix.facts.base_id}"
    found = {f"arn:{partition}:bedrock:{_REGIONS.get(geography, '*')}::{model}"}
    if geography == "global":
        found.add(f"arn:{partition}:bedrock:::{model}")
    return found


def _sources(sources: Sources, prefixes: Sequence[Prefix], account: str) -> list[dict[str, Any]]:
    regions = [sources.region, *(prefix.route.region for prefix in prefixes)]
    partition = _partition(next(filter(None, regions), ""))
    region = sources.region or "*"
    found = _registry(sources, partition, account)
    if sources.log_group:
        group = f"arn:{partition}:logs:{region}:{account}:log-group:{sources.log_group}"
        found.append(_allow("ReadInvocationLogs", ["logs:FilterLogEvents"], [group, f"{group}:*"]))
    if sources.logs_uri:
        bucket, _, folder = sources.logs_uri.removeprefix("s3://").partition("/")
        objects = "/".join(part for part in (bucket, folder.strip("/"), "*") if part)
        found.append(_allow("ListInvocationLogs", ["s3:ListBucket"], [f"arn:{partition}:s3:::{bucket}"]))
        found.append(_allow("GetInvocationLogs", ["s3:GetObject"], [f"arn:{partition}:s3:::{objects}"]))
    if any(prefix.metrics for prefix in prefixes):
        found.append(_allow("ReadMetrics", ["cloudwatch:GetMetricData"], ["*"]))  # it knows no resources
    if sources.topic_arn:
        found.append(_allow("SendAlerts", ["sns:Publish"], [sources.topic_arn]))
    return found


def _registry(sources: Sources, partition: str, account: str) -> list[dict[str, Any]]:
    if sources.registry_bucket:
        bucket = f"arn:{partition}:s3:::{sources.registry_bucket}"
        listed = _allow("ListRegistry", ["s3:ListBucket"], [bucket])
        condition = {"StringLike": {"s3:prefix": f"{sources.registry_folder}*"}}
        fetched = _allow("GetRegistry", ["s3:GetObject"], [f"{bucket}/{sources.registry_folder}*"])
        return [listed | {"Condition": condition}, fetched]
    if sources.registry_folder:
        folder = sources.registry_folder.strip("/")
        arns = [f"arn:{partition}:ssm:*:{account}:parameter/{name}" for name in (folder, f"{folder}/*")]
        return [_allow("GetRegistry", ["ssm:GetParametersByPath"], arns)]
    return []


def _partition(region: str) -> str:
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def _allow(sid: str, actions: list[str], resources: Iterable[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": sorted(resources)}
