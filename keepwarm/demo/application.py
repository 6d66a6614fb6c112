"""The application of the demo: sends each prefix's production request at its moments, through plain boto3.

It knows nothing of keepwarm: it prices its own answers as a bill would.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from keepwarm import clock, pricing
from keepwarm.demo.scene import PARTS, Part, region
from keepwarm.demo.tally import Asked, Tally
from keepwarm.model import Ttl, Usage
from keepwarm.pricing import Catalog


class Application:
    """One account's traffic.

    Args:
        account: its access key; each account has a cache of its own.
        twin: whether it is the one without keepwarm.
    """

    def __init__(self, url: str, account: str, catalog: Catalog, tally: Tally, *, twin: bool) -> None:
        self._url = url
        self._account = account
        self._catalog = catalog
        self._tally = tally
        self._twin = twin
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask_all, args=(part,), daemon=True) for part in PARTS]

    def start(self) -> None:
        """Begin to ask; the moments of the scene count from here."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask_all(self, part: Part) -> None:
        session = boto3.Session(self._account, "demo", region_name=region(part))
        client = session.client(
            "bedrock-runtime", endpoint_url=self._url, config=Config(retries={"total_max_attempts": 6})
        )
        start = clock.steady_seconds()
        for number, moment in enumerate(part.asks_at):
            if self._stopped.wait(max(0.0, start + moment - clock.steady_seconds())):
                return
            self._tally.answered(part.name, twin=self._twin, asked=self._ask(client, part, number))

    def _ask(self, client: Any, part: Part, number: int) -> Asked:
        request = part.request(f"Question {number}: what does rule {number * 7 + 3} say?")
        began = clock.monotonic_seconds()
        try:
            usage, retried = _send(client, part, request)
        except (BotoCoreError, ClientError):
            return Asked(failed=1)
        waited_ms = (clock.monotonic_seconds() - began) * 1000
        facts = self._catalog.find(part.model_id, region(part))
        return Asked(
            warm=int(usage.cache_read_tokens > 0),
            cold=int(usage.cache_write_tokens > 0),
            uncached=int(not usage.cache_read_tokens and not usage.cache_write_tokens),
            timed=int(not retried),
            waited_ms=0.0 if retried else waited_ms,
            cost_usd=pricing.cost_usd(facts.prices, usage, Ttl(part.ttl)) if facts else Asked().cost_usd,
        )


def _send(client: Any, part: Part, request: dict[str, Any]) -> tuple[Usage, bool]:
    """The usage of an answer, and whether the SDK had to try again for it."""
    if part.api == "converse":
        response = client.converse(modelId=part.model_id, **request)
        told = response["usage"]
        names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    else:
        response = client.invoke_model(modelId=part.model_id, body=json.dumps(request))
        told = json.loads(response["body"].read())["usage"]
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Usage(*(told.get(name, 0) for name in names)), response["ResponseMetadata"].get("RetryAttempts", 0) > 0
