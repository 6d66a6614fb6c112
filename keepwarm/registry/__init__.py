"""The registry room: a YAML file and the requests it names, read whole into `Prefix` values or refused whole.

It does not watch files, apply anything or know the daemon.
"""

from keepwarm.registry.load import Registry, load_catalog, load_registry

__all__ = ["Registry", "load_catalog", "load_registry"]
