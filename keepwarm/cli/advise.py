"""`advise`: what each prefix should be registered with, as its own past weeks tell.

It shows; `keepwarm.simulate.advice` replays and chooses.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape

from keepwarm import clock, simulate
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, out, print_json, progress, settings, table, told
from keepwarm.model import Prefix, Ttl
from keepwarm.parts import Parts, opened
from keepwarm.simulate import Setting
from keepwarm.simulate.advice import LEAST_REQUESTS, LEAST_TIME, Advice, Advised, Option, advise, rewrite_rate_of


@app.command(name="advise", epilog=EXIT_CODES)
def command(
    name: Annotated[str | None, typer.Argument(help="A prefix of the registry; by default all.")] = None,
    weeks: Annotated[float, typer.Option(min=1, max=104, help="How far to look back.")] = 4,
    output: FormatOption = Format.TABLE,
) -> None:
    """Recommend ttl, policy and hours for each prefix, with the money each would have saved. Nothing is sent.

    It replays the requests that the ledger was told of, through the planner that the daemon uses, and changes nothing.

    Example: `keepwarm advise support-bot --weeks 8`
    """
    with told(), opened(settings()) as parts:
        prefixes = [parts.registry.find(name)] if name else list(parts.registry.prefixes)
        with progress("replaying", len(prefixes)) as step:
            found = []
            for prefix in prefixes:
                found.append(_advice(parts, prefix, timedelta(weeks=weeks)))
                step()
    if output is Format.JSON:
        print_json({"prefixes": [_advice_json(advice) for advice in found]})
    else:
        _print(found)


def _advice(parts: Parts, prefix: Prefix, back: timedelta) -> Advice:
    now = clock.utc_now()
    touches = [touch for touch in parts.ledger.touches(now - back, now, prefix.name) if touch.matched]
    sizes = {touch.fingerprint: prefix.estimated_tokens for touch in touches}
    trace = simulate.trace_of(prefix.name, touches, sizes) if touches else None
    rewrites = rewrite_rate_of(parts.ledger.entries(now - back, now, prefix.name))
    return advise(prefix, trace, Setting(prefix.facts, rewrites, simulate.new_learner))


# -- showing ------------------------------------------------------------------------------------------------------


def _print(found: list[Advice]) -> None:
    made = table("prefix", ">requests", ">weeks", ">saves now", "advised", ">would save")
    for advice in found:
        now, best = advice.now, advice.best
        made.add_row(
            escape(advice.prefix),
            f"{advice.requests:,}",
            f"{advice.weeks:.1f}",
            _dollars(now.saved_usd_per_week) if now else "-",
            advice.advised.value.replace("_", " "),
            _dollars(best.saved_usd_per_week) if best else "-",
        )
    out.print(made)
    out.print("Savings are a week, against never pinging at the present ttl, on the weeks that were seen.\n")
    for advice in found:
        for line in _words(advice):
            out.print(f"{advice.prefix}: {line}", markup=False)


def _words(advice: Advice) -> list[str]:
    """What to do, and why."""
    lines = [_WORDS[advice.advised](advice)]
    if advice.other:
        other, marked = advice.other, advice.other.ttl.value if advice.other.ttl else "5m or 1h"
        lines.append(
            f"ttl: {marked} with {_registered(other)} would save {_dollars(other.saved_usd_per_week)} a week; "
            "the application must mark its cache points so"
        )
    if advice.cold_start_usd and advice.now:
        lines.append(
            f"each request that finds it cold counts {_dollars(float(advice.cold_start_usd))} besides its tokens"
        )
    return lines


def _too_little(advice: Advice) -> str:
    if not advice.requests:
        return "too little is known: no request was told of; see docs/reference.md, Traffic from the application"
    return (
        f"too little is known: {advice.requests} requests in {advice.weeks * 7:.1f} days; "
        f"an advice needs {LEAST_REQUESTS} in {LEAST_TIME.days} days"
    )


def _no_price(_: Advice) -> str:
    return "runs on provisioned throughput, where warmth frees capacity and saves no money"


def _keep(advice: Advice) -> str:
    return f"leave it as it is; nothing saves much more than {_saved(advice.now)} a week"


def _change(advice: Advice) -> str:
    if advice.best is None:
        return ""
    return f"register {_registered(advice.best)}; saves {_saved(advice.best)} a week instead of {_saved(advice.now)}"


def _no_pings(advice: Advice) -> str:
    cold = advice.best.cold if advice.best else 0
    found = f"no ping is needed: its requests keep it warm, {cold:,} of {advice.requests:,} find it cold"
    return found + _stop_pinging(advice)


def _leave_cold(advice: Advice) -> str:
    cold = advice.best.cold if advice.best else 0
    place = f"at {advice.best.ttl.value} " if advice.other and advice.best and advice.best.ttl else ""
    return (
        f"{place}leave it cold; bundle these jobs into batches: {cold:,} of {advice.requests:,} requests find it cold, "
        f"and no ping pays; those of each day together would cost {_dollars(advice.bundled_usd_per_week or 0)} a week "
        f"instead of {_dollars(advice.never_usd_per_week or 0)}{_stop_pinging(advice)}"
    )


def _stop_pinging(advice: Advice) -> str:
    """What to register so that nothing is pinged, where something is."""
    if advice.now is None or not advice.now.pings:
        return ""
    saved = advice.now.saved_usd_per_week
    worth = f"costs {_dollars(-saved)} a week more" if saved < 0 else "saves hardly anything"
    return f"; what is registered {worth}: set policy: {{idle_limit: 0}} and prewarm: false"


_WORDS = {
    Advised.TOO_LITTLE_KNOWN: _too_little,
    Advised.NO_PRICE: _no_price,
    Advised.KEEP: _keep,
    Advised.CHANGE: _change,
    Advised.NO_PINGS_NEEDED: _no_pings,
    Advised.LEAVE_COLD: _leave_cold,
}


def _registered(option: Option) -> str:
    """A policy and its hours as the registry writes them."""
    policy = option.name if option.name != "never" else "idle_limit:0"
    form = f"{{{policy.replace(':', ': ')}}}" if ":" in policy else policy
    zone = "" if option.hours.name == "always" else f" {option.hours.timezone}"
    return f"policy: {form} and busy_hours: {option.hours.name}{zone if ':' in option.hours.name else ''}"


def _saved(option: Option | None) -> str:
    return _dollars(option.saved_usd_per_week if option else 0.0)


def _dollars(amount: float) -> str:
    size = abs(amount)
    digits = 2 if size >= 1 else 4 if size >= 0.01 else 6
    return f"{'-' if amount < 0 else ''}${size:,.{digits}f}" if round(size, 6) else "$0"


def _advice_json(advice: Advice) -> dict[str, Any]:
    return {
        "name": advice.prefix,
        "advised": advice.advised.value,
        "requests": advice.requests,
        "weeks": round(advice.weeks, 3),
        "now": _option_json(advice.now),
        "best": _option_json(advice.best),
        "other_ttl": _option_json(advice.other),
        "never_usd_per_week": _rounded(advice.never_usd_per_week),
        "bundled_usd_per_week": _rounded(advice.bundled_usd_per_week),
        "cold_start_usd": float(advice.cold_start_usd),
        "words": _words(advice),
    }


def _option_json(option: Option | None) -> dict[str, Any] | None:
    if option is None:
        return None
    ttl: Ttl | None = option.ttl
    return {
        "policy": option.name,
        "ttl": ttl.value if ttl else "auto",
        "busy_hours": {"name": option.hours.name, "timezone": option.hours.timezone},
        "cold_requests": option.cold,
        "pings": option.pings,
        "saved_usd_per_week": round(option.saved_usd_per_week, 6),
    }


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 6)
