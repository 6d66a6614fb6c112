"""`demo`: paints what `keepwarm.demo` plays, then says what it means.

It computes nothing that the demo and its report have not told.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

from keepwarm.cli.app import EXIT_CODES, app, err, out, table, told, usd
from keepwarm.cli.money import print_report
from keepwarm.demo import Result, Show, Snapshot, scene
from keepwarm.demo.tally import Asked, Line

_EVERY_SECONDS = 10


@app.command(epilog=EXIT_CODES)
def demo(
    seconds: Annotated[float, typer.Option(min=10, max=600, help="How long it plays; made for 80.")] = 80,
) -> None:
    """Watch a daemon keep four prefixes warm on a Bedrock inside this process, fifty times as fast as real time.

    Beside it the same application runs without keepwarm. Needs no AWS account and sends nothing out of this machine.

    Example: `keepwarm demo`
    """
    out.print("Four prompt prefixes, one application, a Bedrock inside this program at 1:50 time:")
    out.print("five minutes pass in 6 s and an hour in 72 s. The twin is the same application without keepwarm.\n")
    for part in scene.PARTS:
        out.print(f"  {part.name:15} {part.about}", markup=False)
    out.print()
    with told():
        result = _play(Show(seconds))
    _explain(result)


def _play(show: Show) -> Result:
    if not out.is_terminal:
        return show.play(_Lines())
    with Live(console=out, refresh_per_second=4) as live:
        result = show.play(lambda snapshot: live.update(_paint(snapshot)))
        live.update(_paint(result.snapshot))
        return result


class _Lines:
    """Paints for a pipe: the whole table, every ten seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.passed_seconds >= self._next:
            self._next += _EVERY_SECONDS
            out.print(_paint(snapshot))


def _paint(snapshot: Snapshot) -> RenderableType:
    passed = snapshot.passed_seconds / scene.TIME_SCALE / 60
    shown = table("prefix", "state", "pings", ">refresh cost", "with keepwarm", "twin without")
    for line in snapshot.lines:
        pings = ", ".join(f"{count} {verdict}" for verdict, count in sorted(line.pings.items())) or "none yet"
        shown.add_row(line.name, _state(line), pings, usd(line.refresh_cost_usd), _asked(line.kept), _asked(line.twin))
    left = snapshot.total_seconds - snapshot.passed_seconds
    return Group(
        f"minute {passed:.0f} of {snapshot.total_seconds / scene.TIME_SCALE / 60:.0f} ({left:.0f} s to go)",
        f"its page until then: {snapshot.page}" if snapshot.page else "",
        shown,
    )


def _state(line: Line) -> str:
    colours = {"warmed": "green", "left_cold": "yellow", "stopped": "red"}
    words = {"warmed": "warm", "left_cold": "cold", "stopped": "stopped"}
    if line.state not in words:
        return "starting"
    detail = line.detail.split(":")[0] if line.state == "stopped" else line.reason
    return f"[{colours[line.state]}]{words[line.state]}[/] {escape(detail)}"


def _asked(asked: Asked) -> str:
    counts = {"warm": asked.warm, "cold": asked.cold, "uncached": asked.uncached, "failed": asked.failed}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "-"


# -- the end ------------------------------------------------------------------------------------------------------


def _explain(result: Result) -> None:
    lines = {line.name: line for line in result.snapshot.lines}
    out.print("\n[bold]The daemon's own report, which knows nothing of the traffic[/]")
    print_report(result.report, break_even=False)  # it would count the shortened lifetimes
    out.print("\n[bold]What the twin shows[/]")
    out.print(_comparison(list(lines.values())))
    _print_money(list(lines.values()))
    out.print("\n[bold]The two bad ones[/]")
    _print_tiny(lines[scene.TINY_FAQ])
    _print_throttled(lines[scene.INVOICES])
    err.print(f"\nThe daemon was stopped by SIGTERM and left with exit code {result.exit_code}.")


def _comparison(lines: list[Line]) -> RenderableType:
    shown = table("prefix", ">requests", ">cold with", ">cold without", ">mean wait with", ">mean wait without")
    for line in lines:
        shown.add_row(
            line.name,
            str(_count(line.kept)),
            str(line.kept.cold),
            str(line.twin.cold),
            _mean_wait(line.kept),
            _mean_wait(line.twin),
        )
    shown.add_section()
    requests = sum(_count(line.kept) for line in lines)
    cold, cold_without = sum(line.kept.cold for line in lines), sum(line.twin.cold for line in lines)
    shown.add_row("total", str(requests), str(cold), str(cold_without), "", "")
    return shown


def _print_money(lines: list[Line]) -> None:
    refresh = sum((line.refresh_cost_usd for line in lines), Decimal(0))
    kept = sum((line.kept.cost_usd for line in lines), Decimal(0))
    twin = sum((line.twin.cost_usd for line in lines), Decimal(0))
    out.print(
        f"Refresh cost {usd(refresh)}, avoided write {usd(twin - kept)} (the twin's bill {usd(twin)} less the "
        f"application's {usd(kept)}): net {usd(twin - kept - refresh)}."
    )
    out.print("Waiting is in real seconds, 1:50 undone, without requests that the SDK had to send again.")
    out.print("Keeping a 5m entry warm without knowing the traffic pays only where it is as steady as here.")


def _print_tiny(line: Line) -> None:
    out.print(f"{line.name}: {line.state}, {line.detail or line.reason}.", markup=False)


def _print_throttled(line: Line) -> None:
    refused = line.errors.get("throttled", 0)
    out.print(
        f"{line.name}: {refused} of {sum(line.pings.values())} attempts were throttled and cost nothing; with the "
        f"retries in the margin there were {line.pings.get('hit', 0)} hits; writes: {line.pings.get('rewrite', 0)}.",
        markup=False,
    )


def _mean_wait(asked: Asked) -> str:
    return f"{asked.waited_ms / asked.timed / scene.TIME_SCALE / 1000:.1f} s" if asked.timed else "-"


def _count(asked: Asked) -> int:
    return asked.warm + asked.cold + asked.uncached + asked.failed
