"""A Bedrock that runs on this machine: real SDK wire, real cache semantics, and switches that make it misbehave.

It is no model: it answers "ok". It is the only stand-in for Bedrock that the tests know, too.
"""

from keepwarm.emulator.faults import Faults
from keepwarm.emulator.server import Emulator
from keepwarm.emulator.service import Request

__all__ = ["Emulator", "Faults", "Request"]
