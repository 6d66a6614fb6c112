"""The registry room: a YAML file and the requests it names, read whole into `Prefix` values or refused whole.

It does not watch files, apply anything or know the daemon.
"""

from keepwarm.registry.files import Files
from keepwarm.registry.load import Registry, load_catalog, load_registry
from keepwarm.registry.shelf import Shelf
from keepwarm.registry.synthetic import SYNTHETIC_NAME, synthetic_prefix

__all__ = ["SYNTHETIC_NAME", "Files", "Registry", "Shelf", "load_catalog", "load_registry", "synthetic_prefix"]
