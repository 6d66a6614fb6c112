"""A registered prefix: what is kept warm, by which policy, within which limits of money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from keepwarm.model.facts import Api, ModelFacts, Ttl
from keepwarm.model.hours import BusyHours


@dataclass(frozen=True, slots=True)
class BusyHoursPolicy:
    """Ping all through the busy hours."""

    name: str = "busy_hours"


@dataclass(frozen=True, slots=True)
class IdleLimitPolicy:
    """Ping at most `pings` times after the last touch that was not a ping, or after the opening write."""

    pings: int
    name: str = "idle_limit"


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """Ping only while it is expected to pay, as learnt from the organic requests; blind, all through the busy hours."""

    name: str = "adaptive"


Policy = BusyHoursPolicy | IdleLimitPolicy | AdaptivePolicy


@dataclass(frozen=True, slots=True)
class Opening:
    """What writing a cold entry at the opening of busy hours is worth, as shares of the input price of the prefix.

    Attributes:
        saving: what it is expected to save, a cold start included.
        price: of the write.
        held: whether it must not be risked: what was spent before has not paid yet.
    """

    saving: float
    price: float
    held: bool = False

    @property
    def pays(self) -> bool:
        """Whether it should be written."""
        return self.saving > self.price and not self.held


@dataclass(frozen=True, slots=True)
class Course:
    """What the adaptive policy wants of a prefix until its next organic request.

    Attributes:
        pings: at most so many after the last touch that was not a ping.
        ttl: what the next write should ask for, where keepwarm may choose it.
        saving: what the first ping beyond them is expected to save, as a share of the input price of the prefix.
        price: what that ping costs, in the same unit, rewrites included.
        held: whether it might pay, but must not be risked: the pings before it have not paid yet.
        opening: what a write is worth at this moment, when busy hours open on a cold entry; None at any other.
    """

    pings: int
    ttl: Ttl
    saving: float = 0.0
    price: float = 0.0
    held: bool = False
    opening: Opening | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the guards on money let spending go; a cap of 0 means that no ping is sent at all.

    Attributes:
        ping_cap_usd: what one ping may cost at most, if everything is written.
        day_cap_usd: of a calendar day in UTC, as AWS bills.
        month_cap_usd: of a calendar month in UTC.
        tripwire_usd: what may be lost in seven days, by the low bound of the net.
    """

    ping_cap_usd: Decimal = Decimal(10)
    day_cap_usd: Decimal = Decimal(25)
    month_cap_usd: Decimal = Decimal(500)
    tripwire_usd: Decimal = Decimal(5)


# Of all prefixes together, where the settings say nothing; only day and month count.
LIMITS_IN_ALL = Limits(day_cap_usd=Decimal(100), month_cap_usd=Decimal(2000))


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and on whose account: one boto3 client serves one route.

    Attributes:
        profile: name of an AWS profile, None for the default credential chain.
        role_arn: role to assume on top, None for none.
    """

    region: str
    profile: str | None = None
    role_arn: str | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Prefix:
    """A registered prefix, ready to be pinged.

    Attributes:
        name: unique in the registry.
        ping_request: keyword arguments of the boto3 call (`converse` or `invoke_model`, whose `body` is bytes) without
            `modelId` and `requestMetadata`; holds prompt text, so it never goes into a log or a repr.
        fingerprint: keyed digest of everything that names the cache entry; two prefixes never share one.
        ttl: what the last cache point of the request asks for.
        lifetime: how long an entry is taken to live; the ttl unless the registry says otherwise.
        margin: how long before expiry the ping goes out.
        estimated_tokens: rough size of the cached part, for plans made before the first usage is seen.
        metrics: whether the CloudWatch metrics of its model id tell of its traffic, and of nothing else.
        line: where its entry starts in the registry file.
        prewarm_lead: how long before busy hours open a cold entry is written, so that the first request finds it warm.
        auto_ttl: whether keepwarm chooses the ttl of each coming write (`ttl: auto`); `ttl` is then what is asked for
            until it has chosen.
        other: the same prefix asking for the other ttl, with the request, lifetime and margin for that; None unless
            `auto_ttl`.
        cold_start_usd: what it is worth, beyond the tokens, that a request does not find the entry cold.
        limits: how far its guards on money let it go.
        sketch: the digests (`fingerprint.Sketch`) of its request up to the last cache point, by which organic requests
            are known; None for a prefix that is not from a registry.
    """

    name: str
    model_id: str
    route: Route
    api: Api
    facts: ModelFacts
    ttl: Ttl
    lifetime: timedelta
    margin: timedelta
    busy_hours: BusyHours
    policy: Policy
    prewarm: bool
    fingerprint: str
    estimated_tokens: int
    ping_request: Mapping[str, object] = field(repr=False, compare=False)
    provisioned: bool = False
    metrics: bool = False
    prewarm_lead: timedelta = timedelta(0)
    auto_ttl: bool = False
    other: Prefix | None = field(default=None, repr=False, compare=False)
    cold_start_usd: Decimal = Decimal(0)
    limits: Limits = Limits()
    tags: tuple[tuple[str, str], ...] = ()
    line: int = 0
    sketch: object = field(default=None, repr=False, compare=False)

    def asking(self, ttl: Ttl) -> Prefix:
        """This prefix as it asks for a ttl; itself where keepwarm may not choose."""
        return self if self.other is None or self.ttl is ttl else self.other
