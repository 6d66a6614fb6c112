"""Schemathesis on a real daemon: no request of any shape gets a 5xx, or an answer that the document does not know."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.emulator import Emulator
from keepwarm.settings import Settings
from tests.builders import shipped_catalog
from tests.daemons import PATIENCE_SECONDS, soon, write_registry


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    place = tmp_path_factory.mktemp("schemathesis")
    registry = write_registry(place / "registry.yaml", "a", "b", "c", defaults={"lifetime": "5m", "margin": "30s"})
    chosen = Settings(
        registry=registry, state_dir=place / "state", listen="127.0.0.1:0", drain_seconds=5, http_requests_per_minute=0
    )
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        emulator = stack.enter_context(Emulator(catalog=shipped_catalog(), now=utc_now, seed=7))
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        running = stack.enter_context(build(chosen, observers=[]))
        code = stack.enter_context(ThreadPoolExecutor(1)).submit(running.run)
        try:
            assert soon(lambda: running.address and running.leading)
            yield running
        finally:
            running.stop()
            assert code.result(PATIENCE_SECONDS) == 0


EXAMPLES = settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
    print_blob=False,
)


def test_the_interface_keeps_what_its_document_says(daemon: Daemon):
    document = schemathesis.openapi.from_url(f"http://{daemon.address}/openapi.json")
    operations = [found.ok() for found in document.exclude(path="/v1/stream").get_all_operations()]  # it never ends
    assert len(operations) >= 23
    failures = {}
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(operation, mode)
            except Unsatisfiable:  # nothing about it can be wrong
                continue
            except (FailureGroup, AssertionError) as error:
                failures[f"{operation.label}, {mode.value}"] = str(error)
    assert not failures, "\n".join(failures.values())


def _try(operation: schemathesis.APIOperation, mode: GenerationMode) -> None:
    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE and "name" in case.path_parameters:
            case.path_parameters["name"] = "a"  # one that the registry has
        # That a word is a cursor of ours, or a moment in the coming year, no document can say; and each touch of a
        # batch is judged on its own, in the receipt.
        batch = [negative_data_rejection] * (operation.path == "/v1/touches")
        case.call_and_validate(excluded_checks=[positive_data_acceptance, *batch])

    ask()
