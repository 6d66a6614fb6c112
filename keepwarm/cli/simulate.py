"""`simulate`: what policies would have cost on arrivals that are known.

It shows; `keepwarm.simulate` replays and reckons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from keepwarm import simulate
from keepwarm.busyhours import parse_window
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, out, print_json, progress, settings, table, told
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import ALWAYS, AdaptivePolicy, BusyHours, ModelFacts, Ttl
from keepwarm.parts import opened
from keepwarm.registry import load_catalog
from keepwarm.registry.schema import parse_duration
from keepwarm.simulate import Candidate, Figures, Result, Setting, Trace, plotting
from keepwarm.simulate.actions import Actions
from keepwarm.simulate.figures import Sum

LEDGER = "ledger"
_ALL = "all"
_MODEL = "anthropic.claude-sonnet-4-6"
_SHOWN_PREFIXES = 10


class TtlChoice(StrEnum):
    """What writes ask for."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"
    AUTO = "auto"


@app.command(name="simulate", epilog=EXIT_CODES)
def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    traces: Annotated[
        list[str], typer.Argument(metavar="TRACE...", help="CSV files of arrivals, plain or gzip; or `ledger`.")
    ],
    policy: Annotated[
        str, typer.Option(help="never, busy_hours, idle_limit:N, adaptive; or all, side by side.")
    ] = _ALL,
    ttl: Annotated[
        TtlChoice | None, typer.Option(help="What writes ask for.  [default: auto if adaptive, else 5m]")
    ] = None,
    prices: Annotated[str, typer.Option(metavar="MODEL", help="Whose prices: a model id of the catalog.")] = _MODEL,
    since_share: Annotated[
        float, typer.Option(min=0, max=0.99, help="So much of the arrivals is for learning and not counted.")
    ] = 0.3,
    rewrite_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pings that find a living entry gone and write it.")
    ] = 0.0,
    cold_start_usd: Annotated[
        float,
        typer.Option(min=0, max=1000, help="What adaptive may spend on a request that is not cold; see the registry."),
    ] = 0.0,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="WINDOW", help='Busy hours in UTC, such as "Mon-Fri 08:00-18:00".  [default: always]'),
    ] = None,
    prewarm: Annotated[
        str | None,
        typer.Option(metavar="LEAD", help="Write cold entries so long before a --window opens, such as 0s or 2m."),
    ] = None,
    actions: Annotated[Path | None, typer.Option(help="Write every ping and cold write there, as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw cost against cold starts there: .png or .svg.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Replay arrivals in virtual time and show what policies would have cost. Nothing is sent.

    A trace has the columns t_seconds (from a Monday 00:00), prefix_id and prefix_tokens. The planner and the policies
    are those of the daemon. Compared with never pinging and with the least that anybody could pay who knows the future.

    Example: `keepwarm simulate arrivals.csv.gz --policy all --plot costs.png`
    """
    with told():
        facts = _facts(prices)
        chosen = _candidates(policy, ttl, facts)
        if actions and (len(traces) != 1 or len(chosen) != 1):
            raise typer.BadParameter("only for one TRACE and one --policy", param_hint="--actions")
        hours, worth = _busy_hours(window or []), Decimal(str(cold_start_usd))
        lead = _lead(prewarm, hours)
        setting = Setting(facts, rewrite_rate, simulate.new_learner, hours, worth, lead)
        if plot:
            plotting.check(plot)
        for path in filter(None, (actions, plot)):
            _check_writable(path)
        read = list(_traces(traces))
        found = _compare(read, chosen, setting, since_share, actions)
        if plot:
            plotting.draw(plot, [(name, [result.total for result in results]) for name, results in found])
    if output is Format.JSON:
        asked = {"prices": prices, "since_share": since_share, "rewrite_rate": rewrite_rate}
        bought = {"cold_start_usd": cold_start_usd, "prewarm_seconds": None if lead is None else lead.total_seconds()}
        print_json(asked | bought | _json(found))
    else:
        _print(found, prices, since_share)


def _check_writable(path: Path) -> None:
    """Say before a long replay that what it finds cannot be written there; a file that is there stays as it is."""
    if path.is_dir():
        raise ConfigError([Problem(str(path), 0, "", "cannot be written: Is a directory")])
    if not path.parent.is_dir():
        raise ConfigError([Problem(str(path), 0, "", f"cannot be written: {path.parent} is not a directory")])


def _facts(model: str) -> ModelFacts:
    catalog = load_catalog(settings().models)
    found = catalog.find(model, "")
    if found is None:
        near = get_close_matches(model, list(catalog.models), n=3, cutoff=0.3)
        others = f"nearest are {', '.join(near)}" if near else f"write for example {_MODEL}"
        raise typer.BadParameter(f"no prices are known of {model!r}; {others}", param_hint="--prices")
    return found


def _busy_hours(windows: Sequence[str]) -> BusyHours:
    try:
        return BusyHours("asked for", "UTC", tuple(map(parse_window, windows))) if windows else ALWAYS
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--window") from None


def _lead(text: str | None, hours: BusyHours) -> timedelta | None:
    if text is None:
        return None
    if hours is ALWAYS:
        raise typer.BadParameter("hours that are always busy never open; give a --window", param_hint="--prewarm")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--prewarm") from None


def _candidates(policy: str, ttl: TtlChoice | None, facts: ModelFacts) -> list[Candidate]:
    """Whom to try, as the options ask."""
    if ttl in {TtlChoice.ONE_HOUR, TtlChoice.AUTO} and Ttl.ONE_HOUR not in facts.ttls:
        raise typer.BadParameter(f"{facts.base_id} sells no entries of 1h", param_hint="--ttl")
    wanted = {TtlChoice.FIVE_MINUTES: Ttl.FIVE_MINUTES, TtlChoice.ONE_HOUR: Ttl.ONE_HOUR}.get(ttl) if ttl else None
    if policy == _ALL:
        return [each for each in simulate.candidates(facts) if ttl is None or each.ttl is wanted]
    try:
        parsed = simulate.parse_policy(policy)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--policy") from None
    adaptive = isinstance(parsed, AdaptivePolicy)
    if ttl is TtlChoice.AUTO and not adaptive:
        raise typer.BadParameter("only adaptive chooses a ttl; write 5m or 1h", param_hint="--ttl")
    if ttl is None:
        wanted = None if adaptive and Ttl.ONE_HOUR in facts.ttls else Ttl.FIVE_MINUTES
    return [Candidate(simulate.name_of(parsed), parsed, wanted)]


def _traces(names: Sequence[str]) -> Iterator[Trace]:
    for name in names:
        if name != LEDGER:
            yield simulate.read_trace(Path(name))
            continue
        with opened(settings()) as parts:
            sizes = {prefix.fingerprint: prefix.estimated_tokens for prefix in parts.registry.prefixes}
            yield simulate.trace_of(LEDGER, parts.ledger.touches(None, None), sizes)


def _compare(
    traces: Sequence[Trace], chosen: Sequence[Candidate], setting: Setting, since_share: float, actions: Path | None
) -> list[tuple[str, list[Result]]]:
    found: list[tuple[str, list[Result]]] = []
    kept = Actions() if actions else None
    with progress("replaying", len(traces) * len(chosen)) as step:
        for trace in traces:
            measure = simulate.Measure(trace, setting.facts, since_share)
            found.append((trace.name, []))
            for candidate in chosen:
                found[-1][1].append(simulate.run(trace, measure, candidate, setting, kept.tell if kept else None))
                step()
    if kept and actions:
        kept.write(actions)
    return found


# -- showing ------------------------------------------------------------------------------------------------------


def _print(found: Sequence[tuple[str, list[Result]]], prices: str, since_share: float) -> None:
    for name, results in found:
        made = table("policy", ">cost", ">/ never", ">saving", ">at ttl", ">cold", ">pings", ">USD", ">worst",
                     title=f"{name}: {results[0].total.yardstick.requests:,} requests")  # fmt: skip
        made.columns[0].no_wrap = True
        for result in results:
            policy, *rest = _row(result.total)
            made.add_row(f"{policy} {_ttl(result.total)}", *rest, _worst(result))
        out.print(made)
        out.print()
        if len(results) == 1:
            _print_prefixes(results[0])
    notes = (
        f"cost: in input prices of the prefix, every request alike; USD by its tokens, at the prices of {prices}.",
        f"The first {since_share:.0%} of the arrivals are for learning and not counted.",
        "/ never: by the cost of never pinging at the same ttl (auto: at 5m).",
        "saving: share of what somebody saves over never pinging at 5m who knows the future and chooses every ttl.",
        "at ttl: the same within the row's ttl. worst: what the prefix that lost most lost against never pinging.",
    )
    for note in notes:
        out.print(note, markup=False)


def _print_prefixes(result: Result) -> None:
    """The prefixes with the most requests."""
    made = table("prefix", ">requests", ">cost", ">/ never", ">saving", ">cold", ">pings", ">USD")
    ordered = sorted(result.prefixes.values(), key=lambda each: -each.yardstick.requests)
    for figures in ordered[:_SHOWN_PREFIXES]:
        name, cost, share, saving, _, cold, pings, usd = _row(figures)
        made.add_row(name, f"{figures.yardstick.requests:,}", cost, share, saving, cold, pings, usd)
    out.print(made)
    if worst := result.worst:
        out.print(f"worst: {worst.name} ({worst.loss:+.1f} against never pinging)", markup=False)
    if len(ordered) > _SHOWN_PREFIXES:
        out.print(f"and {len(ordered) - _SHOWN_PREFIXES:,} more prefixes, all in --format json")
    out.print()


def _row(figures: Figures) -> tuple[str, ...]:
    return (
        escape(figures.name),
        _units(figures.spent.cost.units),
        _ratio(figures.cost_to_never),
        _percent(figures.saving_captured),
        _percent(figures.saving_captured_at_ttl),
        _percent(figures.cold_rate, digits=2),
        "-" if figures.name == simulate.CLAIRVOYANT else f"{figures.spent.pings:,}",
        f"{figures.spent.cost.usd:,.2f}",
    )


def _units(units: float) -> str:
    """Whole ones, but where so few were counted that rounding would hide who paid less."""
    return f"{units:,.0f}" if abs(units) >= 1000 else f"{units:,.2f}"


def _ttl(figures: Figures) -> str:
    return figures.ttl.value if figures.ttl else "auto"


def _worst(result: Result) -> str:
    worst = result.worst
    return f"{worst.loss:+.1f}" if worst and result.total.name != simulate.CLAIRVOYANT else "-"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:,.{digits}f}%"


def _json(found: Sequence[tuple[str, list[Result]]]) -> dict[str, Any]:
    return {
        "traces": [
            {
                "name": name,
                "policies": [
                    _figures_json(result.total)
                    | {
                        "worst_prefix": result.worst.name if result.worst else None,
                        "prefixes": [_figures_json(figures) for figures in result.prefixes.values()],
                    }
                    for result in results
                ],
            }
            for name, results in found
        ],
    }


def _figures_json(figures: Figures) -> dict[str, Any]:
    yardstick = figures.yardstick
    return {
        "name": figures.name,
        "ttl": _ttl(figures),
        "requests": yardstick.requests,
        "cost": _sum_json(figures.spent.cost),
        "never": _sum_json(figures.never),
        "clairvoyant": _sum_json(figures.best),
        "never_5m": _sum_json(yardstick.never[Ttl.FIVE_MINUTES]),
        "clairvoyant_auto": _sum_json(yardstick.best[None]),
        "saving_captured": _rounded(figures.saving_captured),
        "saving_captured_at_ttl": _rounded(figures.saving_captured_at_ttl),
        "cost_to_never": _rounded(figures.cost_to_never),
        "cold_rate": _rounded(figures.cold_rate),
        "pings": None if figures.name == simulate.CLAIRVOYANT else figures.spent.pings,
        "rewrites": figures.spent.rewrites,
    }


def _sum_json(found: Sum) -> dict[str, float | int]:
    return {"units": round(found.units, 6), "usd": round(found.usd, 6), "cold": found.cold}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
