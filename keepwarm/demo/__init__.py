"""The demo: a real daemon in a child process, the embedded Bedrock at 1:50 time, traffic, and a twin without keepwarm.

It prints nothing; `keepwarm.cli.demo` paints the snapshots that it hands out.
"""

from keepwarm.demo.show import Result, Show
from keepwarm.demo.tally import Snapshot

__all__ = ["Result", "Show", "Snapshot"]
