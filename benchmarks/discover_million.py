"""Measures `keepwarm discover` on a log of a million records: rate, peak memory, and whether its figures are the truth.

It reads no AWS and keeps nothing. Run it as `.venv/bin/python benchmarks/discover_million.py [RECORDS]`; the exit code
is 1 when a figure is wrong or the memory goes over 300 MB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from keepwarm.clock import monotonic_seconds
from tests.histories import write_history
from tests.truths import differences

_LIMIT_MB = 300


def main() -> int:
    """Generate, discover in a process of its own, compare."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log.json.gz"
        history = write_history(log, records)
        environ = os.environ | {"KEEPWARM_STATE_DIR": directory}
        command = [sys.executable, "-m", "keepwarm", "discover", str(log), "--format", "json", "--top", "1000"]
        began = monotonic_seconds()
        run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own program
        seconds = monotonic_seconds() - began
        megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        wrong = list(differences(json.loads(run.stdout), history, records))
        size = log.stat().st_size
    sys.stdout.write(
        f"{records:,} records ({size / 1e6:,.0f} MB packed) in {seconds:,.1f} s: {records / seconds:,.0f} a second, "
        f"peak {megabytes:,.0f} MB of {_LIMIT_MB}, {len(wrong)} figures wrong\n"
    )
    sys.stdout.writelines(f"{line}\n" for line in wrong[:20])
    return int(bool(wrong) or megabytes > _LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
