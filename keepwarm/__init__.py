"""keepwarm keeps Amazon Bedrock prompt caches warm while that is worth its price.

It does nothing at import time; `keepwarm.daemon.build` is the only place that wires the program.
"""

__version__ = "0.1.0"
