"""The benchmark that soaks: what it calls flat, and the section that it writes."""

from __future__ import annotations

import random

import pytest

from benchmarks.slopes import Slope, marks, slope, verdict
from benchmarks.soak import BEGIN, END, Sample, replaced, table


def test_a_straight_line_is_found_without_an_error() -> None:
    found = slope([0, 1, 2, 3], [5, 7, 9, 11])
    assert (found.value, found.error) == (pytest.approx(2), pytest.approx(0))
    assert slope([0, 1, 2], [4, 4, 4]) == Slope(0, 0)


def test_the_interval_holds_the_truth_nineteen_times_of_twenty_even_where_samples_are_alike() -> None:
    dice, places = random.Random(7), list(range(300))
    held = 0
    for _ in range(200):
        value, values = 0.0, []
        for place in places:
            value = 0.7 * value + dice.gauss(0, 1)
            values.append(0.02 * place + value)
        found = slope(places, values)
        held += abs(found.value - 0.02) <= found.error
    assert 180 <= held <= 198


def test_flat_is_what_surely_does_not_grow_more_than_the_limit() -> None:
    assert verdict(Slope(0.2, 0.1), 0.5) == "flat"
    assert verdict(Slope(0.2, 0.4), 0.5) == "unclear"
    assert verdict(Slope(0.9, 0.4), 0.5) == "unclear"
    assert verdict(Slope(0.9, 0.3), 0.5) == "grows"
    assert verdict(Slope(-3, 0.3), 0.5) == "flat"


def test_marks_are_medians_that_one_odd_look_does_not_move() -> None:
    values = [float(number) for number in range(101)]
    values[0] = 1_000
    assert marks(values) == [3, 26, 50, 74, 98]


def sample(number: int, resident_kb: float) -> Sample:
    return Sample(number / 100, 10 * number, 900_000, resident_kb, 40, 30, 20 + number % 2, 4_000, 100 * number)


def test_the_table_leaves_the_warm_up_out_of_the_slopes_and_shows_it_in_the_marks() -> None:
    grown = [sample(number, min(100_000 + 1_000 * number, 130_000)) for number in range(101)]
    memory, descriptors = table(grown, 0.3).splitlines()[3:5]
    assert memory == (
        "| resident memory, KB | 102,000 | 126,000 | 130,000 | 130,000 | 130,000 | +0.00 ± 0.00 | +0.00 ± 0.00 | flat |"
    )
    assert descriptors.endswith("| flat |")
    leaking = [sample(number, 100_000 + 10 * number) for number in range(101)]
    assert table(leaking, 0.3).splitlines()[3].endswith("| +1,000.00 ± 0.00 | +1,000.00 ± 0.00 | grows |")


def test_each_soak_replaces_its_own_part_of_the_section_and_nothing_else() -> None:
    page = f"# Reliability\n\n## Soak\n\n{BEGIN}\n{END}\n\n## Else\n"
    both = replaced(replaced(page, "at speed", "fast"), "in real time", "slow")
    again = replaced(both, "at speed", "faster")
    assert again == both.replace("fast\n", "faster\n")
    assert again.startswith("# Reliability\n\n## Soak\n")
    assert again.endswith("\n\n## Else\n")
    assert again.count("faster") == again.count("slow") == 1
    assert replaced("# Reliability\n", "at speed", "fast").count("## Soak") == 1
