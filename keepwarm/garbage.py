"""When Python looks for garbage that refers to itself, and how much of what is freed the C library keeps.

It frees nothing itself. Reading a registry makes some hundred thousand objects that live on; looking through all of
them again and again while they are made took a quarter of a start, and later it would hold up every ping of a large
registry for as long as a collection takes (measured by benchmarks/scale.py).
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h, with what keeps a process small whose many threads hold large texts for a moment: of two arenas
# instead of sixteen on two cores, less stays behind in each, and what has its own pages leaves no hole. By itself glibc
# raises that size to 32 MB as soon as something large is freed. Measured by benchmarks/soak.py: docs/reliability.md.
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
_CHOSEN = {_ARENA_MAX: 2, _MMAP_THRESHOLD: 128 * 1024, _TRIM_THRESHOLD: 128 * 1024}


def stay_small() -> None:
    """Let the C library give freed memory back, before there are threads; one without `mallopt` is left as it is.

    Whoever has set one of its `MALLOC_*` variables has chosen for himself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        for name, value in _CHOSEN.items():
            mallopt(name, value)


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
