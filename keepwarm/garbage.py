"""When Python looks for garbage that refers to itself.

It frees nothing itself. Reading a registry makes some hundred thousand objects that live on; looking through all of
them again and again while they are made took a quarter of a start, and later it would hold up every ping of a large
registry for as long as a collection takes (measured by benchmarks/scale.py).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage while things are made that live on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def settle() -> None:
    """Collect once, and from then on look only at what is made later; what is dropped is freed all the same."""
    gc.unfreeze()  # what an earlier call took out, and a reload has dropped since
    gc.collect()
    gc.freeze()
