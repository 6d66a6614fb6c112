"""Draws cost against cold starts, one panel for each trace.

It reckons nothing. It is the one room that knows matplotlib, an extra that is imported only when somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keepwarm.errors import ConfigError, Problem
from keepwarm.model import Ttl
from keepwarm.simulate.comparison import CLAIRVOYANT
from keepwarm.simulate.figures import Figures

SUFFIXES = frozenset({".png", ".svg"})
_COLORS: dict[Ttl | None, str] = {Ttl.FIVE_MINUTES: "#0072b2", Ttl.ONE_HOUR: "#d55e00", None: "#009e73"}
_COLUMNS = 3
# Policies that cost far more than never pinging stand at the upper edge with their figure, or nothing else is seen.
_HIGHEST = 1.3
# A label in points; wider ones are rare.
_LABEL_WIDTH, _LABEL_HEIGHT = 60, 8


def check(path: Path) -> None:
    """Say before a long replay whether a picture can be drawn there.

    Raises:
        ConfigError: it is neither PNG nor SVG, or matplotlib is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError([Problem(str(path), 0, "", "a plot is a .png or .svg file")])
    if find_spec("matplotlib") is None:
        raise ConfigError(
            [Problem(str(path), 0, "", "plots need matplotlib, which is not installed")],
            hint='pip install "keepwarm[plot]"',
        )


def draw(path: Path, panels: Sequence[tuple[str, Sequence[Figures]]]) -> None:
    """Write the picture; its kind is that of the suffix.

    Args:
        path: of the picture.
        panels: name of the trace and the totals of each policy on it.

    Raises:
        ConfigError: it cannot be drawn or written.
    """
    check(path)
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    picture = Figure(figsize=(6.4 * columns, 4.8 * rows), layout="constrained")
    for number, (name, rows_of) in enumerate(panels, 1):
        _panel(picture.add_subplot(rows, columns, number), name, rows_of)
    picture.legend(handles=_legend(), loc="outside lower center", ncols=5, frameon=False)
    try:
        picture.savefig(path, dpi=120)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be written: {error.strerror or error}")]) from None


def _panel(axes: Any, name: str, found: Sequence[Figures]) -> None:
    points = [(figures, _cost(figures)) for figures in found]
    shown = [(figures, cost) for figures, cost in points if cost is not None and figures.cold_rate is not None]
    if not shown:
        axes.set_title(f"{name}: no requests")
        return
    highest = max([1.02, *(cost for _, cost in shown if cost <= _HIGHEST)])
    lowest = min(cost for _, cost in shown)
    room = (highest - lowest) * 0.08
    axes.axhline(1, color="#999999", linewidth=0.8, linestyle="--")
    shown.sort(key=lambda point: point[0].cold_rate or 0)
    axes.set_ylim(lowest - room, highest + 2 * room)
    axes.set_xlim(0, 110 * max(0.01, *(figures.cold_rate or 0 for figures, _ in shown), 0))
    taken: list[tuple[float, float]] = []
    for figures, cost in shown:
        beyond = cost > highest
        marker = "^" if beyond else "*" if figures.name == CLAIRVOYANT else "D" if figures.name == "adaptive" else "o"
        cold = 100 * (figures.cold_rate or 0)
        y = highest + room if beyond else cost
        axes.plot(cold, y, marker, color=_COLORS[figures.ttl], markersize=10 if marker in "*D" else 6, clip_on=False)
        if figures.name != CLAIRVOYANT:
            label = figures.name.replace("idle_limit:", "N=") + (f" {cost:.3g}x" if beyond else "")
            offset = _free(axes, (cold, y), taken)
            axes.annotate(label, (cold, y), xytext=(6, offset), textcoords="offset points", fontsize=7,
                          color=_COLORS[figures.ttl], annotation_clip=False)  # fmt: skip
    axes.set_title(name)
    axes.set_xlabel("requests that find the cache cold, %")
    axes.set_ylabel("cost / never pinging at 5m")
    axes.spines[["top", "right"]].set_visible(False)


def _free(axes: Any, point: tuple[float, float], taken: list[tuple[float, float]]) -> float:
    """How far above a point its label hits no other one, in points; the place is then taken."""
    x, y = (float(each) * 72 / axes.figure.dpi for each in axes.transData.transform(point))
    offsets = sorted(range(-76, 96, 8), key=abs)
    free = (
        each
        for each in offsets
        if all(abs(x - u) > _LABEL_WIDTH or abs(y + each - v) >= _LABEL_HEIGHT for u, v in taken)
    )
    found = next(free, 4)
    taken.append((x, y + found))
    return found


def _cost(figures: Figures) -> float | None:
    never = figures.yardstick.never[Ttl.FIVE_MINUTES].units
    return figures.spent.cost.units / never if never else None


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - an extra, and slow to import

    ttls = [Line2D([], [], marker="o", linestyle="", color=color, label=ttl.value if ttl else "auto")
            for ttl, color in _COLORS.items()]  # fmt: skip
    marks = [("*", CLAIRVOYANT), ("^", "costs far more")]
    return ttls + [Line2D([], [], marker=mark, linestyle="", color="#666666", label=label) for mark, label in marks]
