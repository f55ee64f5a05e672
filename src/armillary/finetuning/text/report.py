"""What the record and the report of a tune on text say: its rows, what it learned, and how the training went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from armillary.finetuning.report import LoggedSeries, curve
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference
from armillary.records.sections import Cell, Finding, Section, Table

LEARNED, TRAINING = "learned", "training"


@dataclass(frozen=True, kw_only=True)
class TagRows:
    """The rows of one tag that were learned."""

    tag: str
    rows: int
    tokens: int
    """Learned in one epoch."""


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """What one tune gave."""

    points: LoggedSeries
    """The loss, in nats a learned token."""

    before: Sequence[float]
    """Nats a learned token of each row that was read, before the tune."""

    after: Sequence[float]
    held_out: bool
    """Whether those rows were not learned."""

    tags: Sequence[TagRows]
    cut: int
    """Rows that lost their end, with so many tokens together."""

    cut_tokens: int
    left_out: int
    """Rows with nothing to learn in the tokens that are read."""

    room: int | None
    """Tokens of a row at most."""

    learns: str
    """What learned, in words."""

    look: str
    """The command with which to see what else changed."""

    seed: int

    @property
    def who(self) -> str:
        """The rows that were read before and after."""
        return "held-out rows" if self.held_out else "learned rows"

    @property
    def rows(self) -> int:
        """Rows that were learned."""
        return sum(row.rows for row in self.tags)


def text_measures(result: TextResult) -> dict[str, Interval]:
    """Nats a learned token before and after, and the change."""
    before, after = list(result.before), list(result.after)
    return {
        f"{result.who}: nats a learned token, before": bootstrap_mean(before, seed=result.seed),
        f"{result.who}: nats a learned token, after": bootstrap_mean(after, seed=result.seed),
        f"{result.who}: nats a learned token, change": paired_difference(after, before, seed=result.seed),
    }


def text_findings(result: TextResult) -> list[Finding]:
    """What was learned; what of the rows was not read; how to look at the rest."""
    before, after, change = text_measures(result).values()
    findings = [
        Finding(
            text=f"{len(result.before)} {result.who} cost {before.estimate:.3g} nats a learned token before and "
            f"{after.estimate:.3g} after, change {change.estimate:+.3g} {_ends(change)}.",
            interest=0.8,
            section=LEARNED,
        )
    ]
    if unread := _unread(result):
        findings.append(Finding(text=unread, interest=0.9, section=LEARNED))
    text = f"What else changed in the model is not told by a loss: `{result.look}` does."
    return [*findings, Finding(text=text, interest=0.7, section=TRAINING)]


def text_sections(result: TextResult) -> list[Section]:
    """The rows and what was learned of them; the training."""
    return [_learned(result), _training(result)]


def _unread(result: TextResult) -> str:
    parts = []
    if result.cut:
        parts.append(f"{result.cut} lost their end, {result.cut_tokens:,} tokens together")
    if result.left_out:
        parts.append(f"{result.left_out} were left out, since what precedes the answer fills a row")
    return f"Of the rows, which are read up to {result.room} tokens, {' and '.join(parts)}." if parts else ""


def _learned(result: TextResult) -> Section:
    cells: list[list[Cell]] = [[row.tag or "(none)", row.rows, row.tokens] for row in result.tags]
    measures: Mapping[str, Interval] = text_measures(result)
    levels: list[list[Cell]] = [[name, value.n, value.estimate, _ends(value)] for name, value in measures.items()]
    rest = "" if result.held_out else " They were learned: nothing is said of other rows."
    return Section(
        id=LEARNED,
        title="What was learned",
        summary=" ".join(finding.text for finding in text_findings(result)[:-1]),
        meaning="The loss is the negative log-likelihood of the answers' tokens given what precedes them, in nats a "
        f"token, a mean over rows. Read are {len(result.before)} {result.who}, before and after.",
        caution=f"Intervals are bootstraps over rows: of one training, with seed {result.seed}.{rest}",
        tables=[
            Table(title="Rows that were learned", columns=["tag", "rows", "learned tokens"], rows=cells),
            Table(title="Loss", columns=["measure", "rows", "nats a token", "95 % interval"], rows=levels),
        ],
    )


def _training(result: TextResult) -> Section:
    points = result.points
    figure = curve("Loss of the batches", {"loss": points}, "nats a learned token")
    return Section(
        id=TRAINING,
        title="The training",
        summary=f"{result.learns} learned {result.rows:,} rows in {points.x[-1]:,} steps; the batches' loss went "
        f"from {points.y[0]:.3g} to {points.y[-1]:.3g} (one run).",
        meaning="Each point is the mean over the learned tokens of the batches since the point before.",
        caution=f"One run with one seed; the last points depend on which rows came last. {result.look} compares the "
        "tuned model with the one it comes from.",
        figures=[] if figure is None else [figure],
    )


def _ends(interval: Interval) -> str:
    return "" if interval.low is None or interval.high is None else f"[{interval.low:.3g}, {interval.high:.3g}]"
