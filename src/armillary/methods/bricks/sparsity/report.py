"""What leaving out small inputs costs and saves, as a section of a report."""

from dataclasses import dataclass

from armillary.methods.bricks.payloads import Thresholds
from armillary.methods.bricks.sparsity.config import Allocation
from armillary.methods.bricks.sparsity.reading import TokenBytes
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Heatmap, Section, Table, interval_bars

HOW: dict[Allocation, str] = {
    "greedy": "in each block those whose loss changes its output least",
    "uniform": "the same share of every matrix's inputs",
}


@dataclass(frozen=True, kw_only=True)
class InputLeftOut:
    """One input of a block on held-out texts."""

    layer: int
    matrices: str
    share: float
    """Of its numbers, left out at a token."""

    threshold: float


@dataclass(frozen=True, kw_only=True)
class SparseReading:
    """A sparsified model on held-out texts."""

    share: float
    """Of the weights of every block, meant to be left unread."""

    share_left_out: float
    """That really was, over all blocks."""

    base: float
    """Loss of the dense model, nats per token."""

    rise: Interval
    """Rise of the loss over all texts, nats per token."""

    rises: dict[str, Interval]
    """The same by capability."""

    limit: Interval
    """Bytes of weights read at a token, dense over sparsified: decoding can't get faster by more."""

    dense_bytes: int
    inputs: list[InputLeftOut]

    @classmethod
    def of(
        cls,
        *,
        share: float,
        base: float,
        rise: Interval,
        rises: dict[str, Interval],
        read: TokenBytes,
        thresholds: Thresholds,
        seed: int = 0,
    ) -> "SparseReading":
        """The plain data of what was measured."""
        return cls(
            share=share,
            share_left_out=read.share(),
            base=base,
            rise=rise,
            rises=rises,
            limit=read.limit(seed=seed),
            dense_bytes=read.dense,
            inputs=[
                InputLeftOut(
                    layer=an_input.layer,
                    matrices=an_input.name,
                    share=read.share([index]),
                    threshold=thresholds.least[an_input.paths[0]],
                )
                for index, an_input in enumerate(read.inputs)
            ],
        )


def section(reading: SparseReading, model: str, allocation: Allocation) -> Section:
    """The loss beside the dense model, what is left out where, and the limit; the summary is the finding."""
    rise, limit = reading.rise, reading.limit
    summary = (
        f"With {reading.share_left_out:.0%} of the weights of its blocks left unread at a token, the loss of {model} "
        f"on held-out texts changes by {rise.estimate:+.3f} nats a token [{rise.lower:.3f}, {rise.upper:.3f}] from "
        f"{reading.base:.2f}; decoding a token reads {1 / limit.estimate:.0%} of the bytes, so that the model can get "
        f"{limit.estimate:.2f} times as fast at most."
    )
    losses: list[list[Cell]] = [
        [name, value.estimate, value.lower, value.upper] for name, value in {"all": rise, **reading.rises}.items()
    ]
    kinds = {kind: [row for row in reading.inputs if row.matrices == kind] for kind in _kinds(reading)}
    shares: list[list[Cell]] = [
        [kind, sum(row.share for row in rows) / len(rows), min(row.share for row in rows),
         max(row.share for row in rows), min(row.threshold for row in rows), max(row.threshold for row in rows)]
        for kind, rows in kinds.items()
    ]  # fmt: skip
    return Section(
        id="sparsity",
        title="Running without small inputs",
        summary=summary,
        meaning="Every matrix multiplies an input of some hundreds of numbers, many of them small. Here those below a "
        "threshold count as 0, so that the weights they would meet need not be read. Thresholds come from calibration "
        f"texts, without training, and were set to leave out {reading.share:.0%} of every block's weights: "
        f"{HOW[allocation]}.",
        caution="Bytes are the floor of the time of decoding one token at a time, not a measured speed-up; the head "
        "and the embedding are read whole. Prompts, batches and other devices than a CPU gain nothing.",
        figures=[
            interval_bars("Rise of the loss", {"all": rise, **reading.rises}, "nats per token"),
            _heatmap(reading),
        ],
        tables=[
            Table(
                title="Loss without small inputs, nats per token",
                columns=["texts", "rise of the loss", "low", "high"],
                rows=losses,
            ),
            Table(
                title="What is left out",
                columns=[
                    "input of",
                    "share, mean of layers",
                    "least",
                    "most",
                    "lowest threshold",
                    "highest threshold",
                ],
                rows=shares,
                note=f"Share of an input's numbers below its threshold, over all held-out texts but their first "
                f"tokens. The dense model reads {reading.dense_bytes / 1e6:.1f} MB a token.",
            ),
        ],
    )


def _kinds(reading: SparseReading) -> list[str]:
    return list(dict.fromkeys(row.matrices for row in reading.inputs))


def _heatmap(reading: SparseReading) -> Figure:
    layers = sorted({row.layer for row in reading.inputs})
    share = {(row.matrices, row.layer): row.share for row in reading.inputs}
    kinds = _kinds(reading)
    data = Heatmap(
        rows=list(kinds),
        columns=list(layers),
        values=[[share.get((kind, layer)) for layer in layers] for kind in kinds],
        low=0.0,
        high=1.0,
        unit="share left out",
    )
    means = ", ".join(
        f"{kind} {sum(shares) / len(shares):.2f}"
        for kind in kinds
        for shares in [[value for (name, _), value in share.items() if name == kind]]
    )
    title = "Share of each input left out, by layer"
    return Figure(title=title, data=data, alt=f"A cell an input and layer; means over layers: {means}.")
