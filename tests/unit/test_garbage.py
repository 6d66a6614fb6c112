import gc
import weakref

from keepwarm import garbage


class Knot:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.self = self


def test_nothing_is_collected_while_things_are_made_and_again_after():
    with garbage.uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_has_settled_and_is_dropped_is_freed_when_things_settle_again():
    knot = Knot()
    seen = weakref.ref(knot)
    garbage.settle()
    del knot
    gc.collect()
    assert seen() is not None
    garbage.settle()
    gc.unfreeze()
    assert seen() is None
