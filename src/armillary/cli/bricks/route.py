"""A model run with some of its experts at a token, as a run of its own: what ``armillary bricks route`` leaves."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.cli.bricks.delivery import Delivery, Outcome, run_on_model
from armillary.cli.bricks.options import ModelOptions, Names
from armillary.cli.bricks.partition import (
    HOW,
    Splitting,
    calibration_texts,
    capability_sources,
    capability_texts_of,
    partitioned,
)
from armillary.cli.options import Folder
from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.experts.router import Router
    from armillary.methods.bricks.payloads import Partition
    from armillary.models import LoadedModel

Payload = dict[str, Any]
RouterName = Literal["ridge", "centroid", "mlp", "oracle"]
LINEAR = ("ridge", "centroid")


@dataclass(frozen=True, kw_only=True)
class RouteConfig:
    """Which experts run, who chooses them, and on which texts the loss is taken."""

    model: str
    experts: int = 32
    k: int | None = None
    """Experts that run at a token; without it and without ``share`` a quarter, a half and three quarters."""

    share: float | None = None
    """Or the fewest that are predicted to hold this share of what all do."""

    router: RouterName = "ridge"
    by: Splitting = "coactivation"
    capabilities: tuple[str, ...] = CAPABILITIES
    texts: int = 8
    """Held-out texts of each capability."""

    calibration: int = 12
    """Texts of each capability to which the split and the router are fitted."""

    tokens: int = 128
    mixtral: bool = False
    """The router has to be one that Mixtral's format can hold: linear, without an intercept."""

    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name, number in {"experts": 1, "texts": 1, "calibration": 1, "tokens": 2}.items():
            if getattr(self, name) < number:
                raise UsageError(f"{name} must be {number} or more, got {getattr(self, name)}.")
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


def run_route(config: RouteConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None) -> RunRecord:
    """The record of a routed model, also left in ``out`` with its report. Raises ``ArmillaryError``.

    With ``config.mixtral`` the folder of the delivery gets the routed model as a stock Mixtral.
    """
    asked = capability_texts_of(config, "test", config.texts)

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        if config.mixtral:
            _fits_mixtral(loaded, config)
        split = partitioned(loaded, config, folder)
        router = fitted(loaded, split, config)
        found = folder.parts.json("routing", partial(_measured, loaded, split, router, config, folder, asked))
        return Outcome(
            title=f"{loaded.name} with some of {config.experts} experts a token",
            sections=[_section(config, found, loaded.name)],
            findings=[Finding(text=_sentence(config, found, loaded.name), interest=0.6, section="routing")],
            measures=_measures(found),
            data=capability_sources(config.capabilities),
            save=partial(_as_mixtral, loaded, split, router, config) if config.mixtral else None,
        )

    return run_on_model("route", config, out, work, fresh=fresh, delivery=delivery)


def _fits_mixtral(loaded: "LoadedModel", config: RouteConfig) -> None:
    """ModelError or UsageError before the work where the model can't leave as a Mixtral."""
    from armillary.methods.bricks.experts.mixtral import LIKE

    kind, width = str(loaded.model.config.model_type), loaded.anatomy.intermediate_size
    if kind not in LIKE:
        raise ModelError(f"{loaded.name} is of type {kind}; Mixtral can stand in for {' or '.join(LIKE)} only.")
    if width % config.experts:
        raise UsageError(f"Mixtral's experts have one size; {config.experts} experts do not divide {width} neurons.")


def _as_mixtral(loaded: "LoadedModel", split: "Partition", router: "Router", config: RouteConfig, to: Path) -> None:
    from armillary.methods.bricks.experts.mixtral import write_mixtral

    assert config.k is not None
    write_mixtral(loaded, split, router, config.k, to)


def fitted(loaded: "LoadedModel", split: "Partition", config: RouteConfig) -> "Router":
    """The router that ``config`` names, fitted to calibration texts."""
    from armillary.methods.bricks.experts.router import oracle
    from armillary.methods.bricks.experts.router_fit import centroid_router, mlp_router, ridge_router

    if config.router == "oracle":
        return oracle()
    if config.router == "centroid":
        return centroid_router(loaded, split)
    texts = calibration_texts(config)
    if config.router == "mlp":
        return mlp_router(loaded, split, texts, max_tokens=config.tokens, seed=config.seed)
    return ridge_router(loaded, split, texts, intercept=not config.mixtral, max_tokens=config.tokens)


def _measured(
    loaded: "LoadedModel",
    split: "Partition",
    router: "Router",
    config: RouteConfig,
    folder: RunFolder,
    asked: dict[str, list[str]],
) -> Payload:
    from armillary.methods.bricks.experts.quality import SHARES, router_recall, routing_curve

    if config.share is not None:
        found = _by_share(loaded, split, router, config, asked)
    else:
        shares = SHARES if config.k is None else (config.k / config.experts,)
        curve = routing_curve(
            loaded, split, router, asked, shares=shares, max_tokens=config.tokens, store=folder.parts.arrays
        )
        found = {**curve.to_dict(), "base": curve.before.per_token()}
    texts = [text for row in zip(*asked.values(), strict=True) for text in row]
    for point in found["points"]:
        k = max(1, round(point["k"]))
        recall = router_recall(loaded, split, router, texts, k, max_tokens=config.tokens, seed=config.seed)
        point["recall"] = recall.to_dict()
    return found


def _by_share(
    loaded: "LoadedModel", split: "Partition", router: "Router", config: RouteConfig, asked: dict[str, list[str]]
) -> Payload:
    """The one point at which each token runs as many experts as it needs."""
    from armillary.methods.bricks.experts.cost import decode_cost
    from armillary.methods.bricks.experts.routed_model import routed
    from armillary.methods.bricks.losses import effect, text_losses

    before = text_losses(loaded, asked, max_tokens=config.tokens)
    with routed(loaded, split, router, share=config.share) as routing:
        after = text_losses(loaded, asked, max_tokens=config.tokens)
    cost = decode_cost(loaded, routing.neurons_share, None if config.router == "oracle" else router)
    point = {
        "k": routing.experts_per_token,
        "share": routing.neurons_share,
        "all": effect(before, after, seed=config.seed).to_dict(),
        "capabilities": {name: effect(before, after, name, seed=config.seed).to_dict() for name in asked},
        "cost": cost.to_dict(),
    }
    return {"experts": config.experts, "router": router.to_dict(), "points": [point], "base": before.per_token()}


def _measures(found: Payload) -> dict[str, Interval]:
    measures = {}
    for point in found["points"]:
        at = f"{point['k']:.3g} of {found['experts']} experts"
        measures[f"rise of the loss/{at}"] = Interval.from_dict(point["all"]["delta_nll"])
        measures[f"router recall/{at}"] = Interval.from_dict(point["recall"]["recall"])
    return measures


def _sentence(config: RouteConfig, found: Payload, model: str) -> str:
    point = found["points"][-1]
    rise, cost = Interval.from_dict(point["all"]["delta_nll"]), point["cost"]
    reads = "a router that chose as well would read" if config.router == "oracle" else "decoding a token reads"
    return (
        f"With {point['k']:.3g} of {found['experts']} experts a token, chosen by {_named(config)}, the loss of "
        f"{model} on held-out texts changes by {rise.estimate:+.3f} nats a token [{rise.lower:.3f}, "
        f"{rise.upper:.3f}] from {found['base']:.2f}; {reads} {1 / cost['speed_limit']:.0%} of the bytes, so that the "
        f"model can get {cost['speed_limit']:.2f} times as fast at most."
    )


def _named(config: RouteConfig) -> str:
    return "an oracle that looks at all neurons" if config.router == "oracle" else f"a {config.router} router"


def _section(config: RouteConfig, found: Payload, model: str) -> Section:
    bars: dict[str, Interval] = {}
    rows: list[list[Cell]] = []
    for point in found["points"]:
        at = f"{point['k']:.3g} of {found['experts']}"
        for name, one in {"all": point["all"], **point["capabilities"]}.items():
            rise = Interval.from_dict(one["delta_nll"])
            bars[f"{at}, {name}"] = rise
            rows.append([at, name, rise.estimate, rise.lower, rise.upper])
    columns = ["experts", "texts", "rise of the loss", "low", "high"]
    oracle = " The oracle reads every neuron first, so it saves nothing: it is the bound for routers."
    return Section(
        id="routing",
        title="Running with some of the experts",
        summary=_sentence(config, found, model),
        meaning=f"The neurons of each feed-forward block are split into experts by {HOW[config.by]}. At each token "
        f"only some of them run, chosen by {_named(config)} from the block's input; with all of them the model is the "
        "dense one. The bars are what that costs on texts that neither split nor router has seen.",
        caution="Bytes are the floor of the time of decoding one token at a time, not a measured speed-up; reading a "
        f"prompt gains less.{oracle if config.router == 'oracle' else ''}",
        figures=[interval_bars("Rise of the loss", bars, "nats per token")],
        tables=[
            Table(title="Loss with some of the experts, nats per token", columns=columns, rows=rows),
            _reading(found),
        ],
    )


def _reading(found: Payload) -> Table:
    rows: list[list[Cell]] = []
    for point in found["points"]:
        recall, cost = Interval.from_dict(point["recall"]["recall"]), point["cost"]
        rows.append(
            [f"{point['k']:.3g} of {found['experts']}", recall.estimate, recall.lower, recall.upper,
             point["recall"]["oracle_share"]["estimate"], cost["read_ffn_bytes"] / 1e6, cost["router_bytes"] / 1e6,
             (cost["dense_ffn_bytes"] + cost["other_bytes"]) / 1e6, cost["speed_limit"]]
        )  # fmt: skip
    return Table(
        title="Router and bytes",
        columns=["experts", "recall", "low", "high", "share of energy in the best", "FFN, MB a token",
                 "router, MB a token", "dense model, MB a token", "speed-up at most"],
        rows=rows,
        note="Recall is the energy in the router's experts over that in the best as many, mean over layers, with an "
        "interval over texts; bytes are computed from shapes.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RouteOptions(ModelOptions):
    """Run a model with some of its experts at a token: loss on held-out texts, and what is read."""

    experts: int = 32
    """Experts of a layer."""

    k: int | None = None
    """Experts that run at a token; by default a quarter, a half and three quarters are tried."""

    share: float | None = None
    """Instead of k: the fewest experts that are predicted to hold this share of what all do."""

    router: Literal["ridge", "centroid", "mlp", "oracle"] = "ridge"
    """Who chooses: ridge and mlp are fitted, centroid needs no text, oracle looks at all neurons (a bound)."""

    by: Splitting = "coactivation"
    """How the experts are made (see `armillary bricks partition`)."""

    capabilities: Names = None
    """Capabilities on whose texts is fitted and tested; by default six."""

    texts: int = 8
    """Held-out texts of each capability."""

    mixtral: Folder = None
    """New folder for the routed model as a stock Mixtral, which transformers opens by itself; needs --k."""
