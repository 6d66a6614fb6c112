"""`iam-policy`: what to grant keepwarm on AWS, and nothing else.

It judges nothing itself (see `permissions`), grants nothing, and asks AWS only with --lookup.
"""

from __future__ import annotations

import re
from typing import Annotated

import typer

from keepwarm import clock, permissions
from keepwarm.bedrock import Gateway
from keepwarm.cli.app import EXIT_CODES, EXIT_INPUT, app, err, print_json, settings, told
from keepwarm.errors import KeepwarmError
from keepwarm.mirror import remote_of
from keepwarm.model import Prefix
from keepwarm.parts import read_registry
from keepwarm.permissions import Identity, Sources
from keepwarm.settings import PREFIX, Settings


@app.command(name="iam-policy", epilog=EXIT_CODES)
def iam_policy(
    account: Annotated[str, typer.Option("--account", help="Twelve digits; any account when left out.")] = "*",
    profile: Annotated[str, typer.Option("--profile", help="The policy of this AWS profile instead.")] = "",
    role: Annotated[str, typer.Option("--role", help="The policy of this assumed role, by its ARN, instead.")] = "",
    lookup: Annotated[
        bool,
        typer.Option("--lookup", help="Ask AWS for the destination regions (needs bedrock:GetInferenceProfile)."),
    ] = False,
) -> None:
    """Print the least IAM policy that the registry and the settings need, as JSON.

    Models behind an inference profile are allowed through that profile only. Without --lookup they are allowed in all
    regions of its geography. Where prefixes name AWS profiles or roles, each of those needs a policy of its own.

    Example: `keepwarm iam-policy --account 123456789012 > policy.json`
    """
    if account != "*" and not re.fullmatch(r"\d{12}", account):
        _refuse(f"--account {account}: write twelve digits, such as 123456789012")
    with told():
        chosen = settings()
        registry, _ = read_registry(chosen, clock.utc_now())
        known = permissions.identities(registry.prefixes)
        identity = Identity(profile or None, role or None)
        if identity not in known:
            named = "; ".join(_option(one) for one in known if one != Identity()) or "none but the default credentials"
            _refuse(f"no prefix is pinged with {_option(identity)}; the registry names: {named}")
        destinations = _look_up(registry.prefixes, identity) if lookup else {}
    print_json(permissions.policy(identity, registry.prefixes, _sources(chosen), account, destinations))
    for other in known:
        if other != identity:
            err.print(f"also needed: keepwarm iam-policy {_option(other)}".rstrip(), markup=False)


def _look_up(prefixes: tuple[Prefix, ...], identity: Identity) -> dict[tuple[str, str], list[str]]:
    gateway = Gateway(1)
    found: dict[tuple[str, str], list[str]] = {}
    for prefix in prefixes:
        key = (prefix.route.region, prefix.model_id)
        own = (prefix.route.profile, prefix.route.role_arn) == (identity.profile, identity.role_arn)
        if own and permissions.is_profile(prefix) and key not in found:
            try:
                found[key] = gateway.destinations(prefix)
            except KeepwarmError as error:
                hint = "grant bedrock:GetInferenceProfile, or leave --lookup out"
                raise type(error)(f"{prefix.name}: {error}", hint=hint) from None
    return found


def _option(identity: Identity) -> str:
    options = {"--profile": identity.profile, "--role": identity.role_arn}
    return " ".join(f"{name} {value}" for name, value in options.items() if value) or "the default credentials"


def _sources(chosen: Settings) -> Sources:
    remote = remote_of(chosen.registry, f"{PREFIX}REGISTRY")
    return Sources(
        log_group=chosen.traffic_log_group,
        logs_uri=chosen.traffic_s3,
        region=chosen.traffic_region,
        topic_arn=chosen.alert_sns_topic_arn,
        registry_bucket=remote.bucket if remote else "",
        registry_folder=remote.folder if remote else "",
    )


def _refuse(message: str) -> None:
    err.print(message, markup=False)
    raise typer.Exit(EXIT_INPUT)
