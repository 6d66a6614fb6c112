"""Drives one target for long, guided by coverage: `make fuzz TARGET=registry SECONDS=3600`.

It needs atheris (requirements/fuzz.txt), which nothing else does. Whatever breaks a promise is written to the working
directory as `crash-...`; it becomes a test in `test_found.py` before it is mended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["keepwarm"]):
    from tests.fuzz import mutations, targets

_LONGEST_INPUT = 20_000
_SLOW_SECONDS = 10
_MOST_MEMORY_MB = 1_500


def _another(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time a mutation by structure, else one of libFuzzer's own."""
    random = Random(seed)
    if random.randrange(2):
        return atheris.Mutate(data, most)
    return mutations.mutate(data, random)[:most]


def main() -> None:
    """Fuzz until the time is over or a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="where new inputs are kept; by default nowhere")
    asked = parser.parse_args()
    kept = [str(asked.corpus)] if asked.corpus else []
    if asked.corpus:
        asked.corpus.mkdir(parents=True, exist_ok=True)
    seeds = str(mutations.CORPUS / asked.target)
    limits = [
        f"-max_total_time={asked.seconds}", f"-max_len={_LONGEST_INPUT}", f"-timeout={_SLOW_SECONDS}",
        f"-rss_limit_mb={_MOST_MEMORY_MB}", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *limits, *kept, seeds], targets.TARGETS[asked.target], custom_mutator=_another)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
