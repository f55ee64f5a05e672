"""``armillary bricks route MODEL``: a model run with some of its experts at a token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.bricks.delivery import run_delivered
from armillary.cli.bricks.partition import HOW, SplitSettings, split_of
from armillary.cli.options import Folder, RunOptions, read_run
from armillary.errors import UsageError
from armillary.methods.bricks.experts.config import RouterKind, Splitting
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import at_least

if TYPE_CHECKING:
    from armillary.methods.bricks.experts.cost import DecodeCost
    from armillary.methods.bricks.experts.router import Router
    from armillary.methods.bricks.losses import Losses
    from armillary.methods.bricks.payloads import Partition
    from armillary.models import LoadedModel

LINEAR = ("ridge", "centroid")


@dataclass(frozen=True, kw_only=True)
class RouteSettings(SplitSettings):
    """Run a model with some of its experts at a token: loss on held-out texts, and what is read."""

    command: ClassVar[str] = "bricks route"

    k: int | None = None
    """Experts that run at a token; by default a quarter, a half and three quarters are tried."""

    share: float | None = None
    """Instead of k: the fewest experts that are predicted to hold this share of what all do."""

    router: RouterKind = "ridge"
    """Who chooses: ridge and mlp are fitted, centroid needs no text, oracle looks at all neurons (a bound)."""

    by: Splitting = "coactivation"
    """How the experts are made (see `armillary bricks partition`)."""

    texts: int = 8
    """Held-out texts of each capability."""

    mixtral: Annotated[bool, tyro.conf.Suppress] = False
    """The router is one that Mixtral's format can hold: linear, without an intercept. Follows from --mixtral."""

    def __post_init__(self) -> None:
        at_least(self, experts=1, texts=1, calibration=1, tokens=2)
        if self.k is not None and self.share is not None:
            raise UsageError("give either k or share, and not both.")
        if self.k is not None and not 1 <= self.k <= self.experts:
            raise UsageError(f"k must be 1 to {self.experts}, the number of experts; got {self.k}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise UsageError(f"share must lie above 0 and be at most 1, got {self.share}.")
        if self.share is not None and self.router == "centroid":
            raise UsageError("a centroid router only orders the experts, so it can't tell a share; give k.")
        if self.mixtral and (self.k is None or self.router not in LINEAR):
            raise UsageError("a Mixtral folder needs a fixed k and a linear router: --k, --router ridge or centroid.")

    def check(self) -> None:
        """Refuse a capability that is not known."""
        self.texts_of("test", self.texts)

    def dry(self) -> Self:
        """Two held-out texts, and no more experts than there then are."""
        # k first: it is checked against the number of experts, which becomes smaller.
        fitting = replace(self, k=None if self.k is None else min(self.k, 4), texts=min(self.texts, 2))
        return super(RouteSettings, fitting).dry()


@dataclass(frozen=True, kw_only=True)
class RouteOptions(RunOptions):
    """Where a routed model goes."""

    mixtral_folder: Annotated[Folder, tyro.conf.arg(name="mixtral", metavar="DIR")] = None
    """New folder for the routed model as a stock Mixtral, which transformers opens by itself; needs --k."""


@dataclass(frozen=True, kw_only=True)
class RoutedPoint:
    """What running with some of the experts costs, and what it reads."""

    k: float
    """Experts a token, on average where a share decides."""

    rise: Interval
    """Rise of the loss over all texts, nats per token."""

    rises: dict[str, Interval]
    """The same by capability."""

    recall: Interval
    """Energy in the router's experts over that in the best as many."""

    oracle_share: Interval
    """Share of a token's whole energy that the best as many hold."""

    ffn_bytes: float
    """Read of the feed-forward blocks at a token."""

    router_bytes: float
    dense_bytes: float
    """All that the dense model reads at a token."""

    speed_limit: float


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A routed model on held-out texts."""

    base: float
    """Loss of the dense model, nats per token."""

    points: list[RoutedPoint]


def route_tokens(run: Run[RouteSettings], *, to: Path | None = None) -> Outcome:
    """The losses of the routed model; with ``to`` it is also written there as a stock Mixtral."""
    from armillary.methods.bricks.experts.mixtral import refuse_unlike, write_mixtral

    settings, loaded = run.settings, run.model
    if settings.mixtral:
        refuse_unlike(loaded, settings.experts)
    split = split_of(loaded, settings, run.parts)
    router = fitted_router(loaded, split, settings)
    routed = run.parts.decoded(Routed, "routing", partial(measure, run, split, router))
    if to is not None:
        assert settings.k is not None
        write_mixtral(loaded, split, router, settings.k, to)
    section = route_section(settings, routed, loaded.name)
    return Outcome(
        title=f"{loaded.name} with some of {settings.experts} experts a token",
        sections=[section],
        findings=[Finding(text=section.summary, interest=0.6, section="routing")],
        measures={
            name: value
            for point in routed.points
            for name, value in (
                (f"rise of the loss/{point.k:.3g} of {settings.experts} experts", point.rise),
                (f"router recall/{point.k:.3g} of {settings.experts} experts", point.recall),
            )
        },
        data=settings.sources(),
    )


def fitted_router(loaded: "LoadedModel", split: "Partition", settings: RouteSettings) -> "Router":
    """The router that the settings name, fitted to calibration texts where it needs them."""
    from armillary.methods.bricks.experts.router import oracle
    from armillary.methods.bricks.experts.router_fit import centroid_router, mlp_router, ridge_router

    if settings.router == "oracle":
        return oracle()
    if settings.router == "centroid":
        return centroid_router(loaded, split)
    texts = settings.calibration_texts()
    if settings.router == "mlp":
        return mlp_router(loaded, split, texts, max_tokens=settings.tokens, seed=settings.seed)
    return ridge_router(loaded, split, texts, intercept=not settings.mixtral, max_tokens=settings.tokens)


def measure(run: Run[RouteSettings], split: "Partition", router: "Router") -> Routed:
    """Losses and bytes at ``k`` experts a token, at the share that is asked for, or at three shares of the experts."""
    from armillary.methods.bricks.experts.cost import decode_cost
    from armillary.methods.bricks.experts.quality import SHARES, router_recall, routing_curve
    from armillary.methods.bricks.experts.routed_model import routed
    from armillary.methods.bricks.losses import effect, text_losses

    settings, loaded = run.settings, run.model
    held_out = settings.texts_of("test", settings.texts)
    texts = [text for row in zip(*held_out.values(), strict=True) for text in row]

    def point(k: float, before: "Losses", after: "Losses", cost: "DecodeCost", seed: int) -> RoutedPoint:
        nearest = max(1, round(k))
        recall = router_recall(loaded, split, router, texts, nearest, max_tokens=settings.tokens, seed=settings.seed)
        return RoutedPoint(
            k=k,
            rise=effect(before, after, seed=seed).delta_nll,
            rises={name: effect(before, after, name, seed=seed).delta_nll for name in held_out},
            recall=recall.mean,
            oracle_share=recall.oracle_share,
            ffn_bytes=cost.read_ffn_bytes,
            router_bytes=cost.router_bytes,
            dense_bytes=cost.dense_ffn_bytes + cost.other_bytes,
            speed_limit=cost.speed_limit,
        )

    if settings.share is not None:
        before = text_losses(loaded, held_out, max_tokens=settings.tokens)
        with routed(loaded, split, router, share=settings.share) as routing:
            after = text_losses(loaded, held_out, max_tokens=settings.tokens)
        cost = decode_cost(loaded, routing.neurons_share, None if settings.router == "oracle" else router)
        points = [point(routing.experts_per_token, before, after, cost, settings.seed)]
        return Routed(base=before.per_token(), points=points)
    shares = SHARES if settings.k is None else (settings.k / settings.experts,)
    curve = routing_curve(
        loaded, split, router, held_out, shares=shares, max_tokens=settings.tokens, store=run.parts.arrays
    )
    rows = zip(curve.ks, curve.after, curve.costs, strict=True)
    points = [point(k, curve.before, after, cost, 0) for k, after, cost in rows]
    return Routed(base=curve.before.per_token(), points=points)


def route_section(settings: RouteSettings, routed: Routed, model: str) -> Section:
    """What running with some of the experts costs, and what a token then reads; the summary is the finding."""
    is_oracle = settings.router == "oracle"
    chooser = "an oracle that looks at all neurons" if is_oracle else f"a {settings.router} router"
    last = routed.points[-1]
    reads = "a router that chose as well would read" if is_oracle else "decoding a token reads"
    summary = (
        f"With {last.k:.3g} of {settings.experts} experts a token, chosen by {chooser}, the loss of {model} on "
        f"held-out texts changes by {last.rise.estimate:+.3f} nats a token [{last.rise.lower:.3f}, "
        f"{last.rise.upper:.3f}] from {routed.base:.2f}; {reads} {1 / last.speed_limit:.0%} of the bytes, so that the "
        f"model can get {last.speed_limit:.2f} times as fast at most."
    )
    rises: Mapping[tuple[str, str], Interval] = {
        (f"{point.k:.3g} of {settings.experts}", name): rise
        for point in routed.points
        for name, rise in {"all": point.rise, **point.rises}.items()
    }
    losses: list[list[Cell]] = [
        [experts, name, rise.estimate, rise.lower, rise.upper] for (experts, name), rise in rises.items()
    ]
    reading: list[list[Cell]] = [
        [f"{point.k:.3g} of {settings.experts}", point.recall.estimate, point.recall.lower, point.recall.upper,
         point.oracle_share.estimate, point.ffn_bytes / 1e6, point.router_bytes / 1e6, point.dense_bytes / 1e6,
         point.speed_limit]
        for point in routed.points
    ]  # fmt: skip
    bound = " The oracle reads every neuron first, so it saves nothing: it is the bound for routers."
    return Section(
        id="routing",
        title="Running with some of the experts",
        summary=summary,
        meaning=f"The neurons of each feed-forward block are split into experts by {HOW[settings.by]}. At each token "
        f"only some of them run, chosen by {chooser} from the block's input; with all of them the model is the "
        "dense one. The bars are what that costs on texts that neither split nor router has seen.",
        caution="Bytes are the floor of the time of decoding one token at a time, not a measured speed-up; reading a "
        f"prompt gains less.{bound if is_oracle else ''}",
        figures=[
            interval_bars(
                "Rise of the loss", {", ".join(words): rise for words, rise in rises.items()}, "nats per token"
            )
        ],
        tables=[
            Table(
                title="Loss with some of the experts, nats per token",
                columns=["experts", "texts", "rise of the loss", "low", "high"],
                rows=losses,
            ),
            Table(
                title="Router and bytes",
                columns=["experts", "recall", "low", "high", "share of energy in the best", "FFN, MB a token",
                         "router, MB a token", "dense model, MB a token", "speed-up at most"],
                rows=reading,
                note="Recall is the energy in the router's experts over that in the best as many, mean over layers, "
                "with an interval over texts; bytes are computed from shapes.",
            ),
        ],
    )  # fmt: skip


JOBS = {"bricks route": Job(settings=RouteSettings, work=route_tokens)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(RouteSettings, arguments, RouteOptions)
    job, to = JOBS["bricks route"], options.mixtral_folder
    if to is None:
        return run_delivered(job, settings, options)
    return run_delivered(job, replace(settings, mixtral=True), options, to=to, writing=partial(route_tokens, to=to))
