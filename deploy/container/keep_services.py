"""Takes from this interpreter's botocore the descriptions of services that keepwarm never asks.

It touches no code: what remains is botocore as it was released, with fewer services to make a client for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import botocore

# Bedrock; sources of traffic; metrics and alarms; the registry's and secrets' homes; where credentials come from.
KEPT = frozenset(
    {
        "bedrock",
        "bedrock-runtime",
        "cloudwatch",
        "logs",
        "s3",
        "secretsmanager",
        "signin",
        "sns",
        "sqs",
        "ssm",
        "sso",
        "sso-oidc",
        "sts",
    }
)

if __name__ == "__main__":
    for service in (Path(botocore.__file__).parent / "data").iterdir():
        if service.is_dir() and service.name not in KEPT:
            shutil.rmtree(service)
