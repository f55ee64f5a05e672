"""What the record and the report of a tuning run say: what was learned and forgotten, and how the training went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from armillary.data.images.user_files import ImageQuestion
from armillary.finetuning.config import TuningConfig
from armillary.finetuning.data import chance
from armillary.methods.mdgd.forgetting import ForgettingRow, ForgettingTable, forgetting_table
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference
from armillary.records.sections import Figure, Finding, Lines, Section, Series, Table, interval_bars

# Lines over the steps of a training, read from the Trainer's log.


@dataclass(frozen=True)
class LoggedSeries:
    """One name of the log: at which steps, and its values."""

    x: list[int]
    y: list[float]


def series_named(log: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, LoggedSeries]:
    """For each name in the log, under the word given, its values by step; names that are not there are left out.

    A resumed run may have two lines for the step it resumed at: the first counts.
    """
    series = {}
    for name, word in names.items():
        values: dict[int, float] = {}
        for line in log:
            if line.get(name) is not None and "step" in line:
                values.setdefault(int(line["step"]), float(line[name]))
        if values:
            series[word] = LoggedSeries(sorted(values), [values[step] for step in sorted(values)])
    return series


def curve(title: str, series: Mapping[str, LoggedSeries], y_label: str) -> Figure | None:
    """The series in one figure over all their steps; None for no series."""
    if not series:
        return None
    steps = sorted({step for line in series.values() for step in line.x})
    drawn = []
    for name, line in series.items():
        known = dict(zip(line.x, line.y, strict=True))
        drawn.append(Series(name=name, y=[known.get(step) for step in steps]))
    ends = ", ".join(f"{name} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for name, line in series.items())
    data = Lines(x=[*steps], series=drawn, x_label="step", y_label=y_label)
    return Figure(title=title, data=data, alt=f"Lines over {steps[-1]} steps: {ends}.")


LEARNED = "learned-and-forgotten"
_LAYERS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What the stages of a run gave."""

    config: TuningConfig
    tests: Mapping[str, Sequence[ImageQuestion]]
    rows: int
    """Questions that were learned from."""

    before: Mapping[str, Sequence[float]]
    after: Mapping[str, Sequence[float]]
    log: Sequence[Mapping[str, Any]]
    """The Trainer's."""

    @property
    def target(self) -> str:
        return self.config.data.new_task

    def table(self) -> ForgettingTable | None:
        """Old tasks and the new one together; None where there are no old ones."""
        if len(self.before) < 2:
            return None
        return forgetting_table(self.before, self.after, target=self.target, seed=self.config.seed)

    def rows_of_tasks(self) -> list[ForgettingRow]:
        """One row a task, the new one last."""
        table = self.table()
        if table is not None:
            return list(table.rows)
        seed, old, new = self.config.seed, list(self.before[self.target]), list(self.after[self.target])
        return [
            ForgettingRow(
                task=self.target,
                target=True,
                before=bootstrap_mean(old, seed=seed),
                after=bootstrap_mean(new, seed=seed),
                change=paired_difference(new, old, seed=seed),
            )
        ]


def tuning_measures(result: TuningResult) -> dict[str, Interval]:
    """Accuracies before, after and their change by task, and the old tasks' together."""
    measures: dict[str, Interval] = {}
    for row in result.rows_of_tasks():
        measures |= {f"{row.task}/{name}": getattr(row, name) for name in ("before", "after", "change")}
    if (table := result.table()) is not None:
        measures |= {
            "old tasks/before": table.pretrained_before,
            "old tasks/after": table.pretrained_after,
            "old tasks/change": table.pretrained_change,
            "H-score": table.h_score,
        }
    return measures


def tuning_findings(result: TuningResult) -> list[Finding]:
    """What was learned and what was forgotten, a sentence each."""
    rows = {row.task: row for row in result.rows_of_tasks()}
    new = rows[result.target]
    findings = [
        Finding(
            text=f"{result.target} (learned): {_percent(new.before)} before, {_percent(new.after)} after, change "
            f"{_change(new.change)}.",
            interest=0.8,
            section=LEARNED,
        )
    ]
    table = result.table()
    if table is not None:
        worst = min((row for row in table.rows if not row.target), key=lambda row: row.change.estimate)
        lost = table.pretrained_change.upper < 0
        findings.append(
            Finding(
                text=f"The old tasks together change by {_change(table.pretrained_change)}; the most by "
                f"{_change(worst.change)} ({worst.task}).",
                interest=0.9 if lost else 0.7,
                section=LEARNED,
            )
        )
    return findings


def tuning_sections(result: TuningResult) -> list[Section]:
    """Learned and forgotten; the training; the image states; for CoMMIT the balance."""
    sections = [_learned(result), _training(result)]
    if result.config.method == "commit":
        sections.append(_balance(result))
    return [*sections, _states(result)]


def _cells(result: TuningResult, rows: Sequence[ForgettingRow], chances: Sequence[float]) -> list[list[Any]]:
    """The rows of the table: each task, then the old ones together and the H-score."""
    cells: list[list[Any]] = [
        [row.task, "new" if row.target else "old", row.before.n, f"{by_chance:.1%}", _percent(row.before),
         _percent(row.after), _change(row.change)]
        for row, by_chance in zip(rows, chances, strict=True)
    ]  # fmt: skip
    table = result.table()
    if table is not None:
        sums = (table.pretrained_before, table.pretrained_after)
        cells.append(
            [
                "old tasks, mean",
                "",
                table.pretrained_before.n,
                "",
                *map(_percent, sums),
                _change(table.pretrained_change),
            ]
        )
        cells.append(["H-score", "", table.h_score.n, "", "", _percent(table.h_score), ""])
    return cells


def _learned(result: TuningResult) -> Section:
    rows = result.rows_of_tasks()
    chances = [chance(result.tests[row.task]) for row in rows]
    levels = {f"{row.task}, {when}": getattr(row, when) for row in rows for when in ("before", "after")}
    twice = [share for share in chances for _ in range(2)]
    bars = interval_bars("Answers that are right", levels, "share right", twice, "guessing among the choices")
    changes = interval_bars(
        "Change by task", {row.task: row.change for row in rows}, "share right, after minus before"
    )
    return Section(
        id=LEARNED,
        title="Learned and forgotten",
        summary=" ".join(finding.text for finding in tuning_findings(result)),
        meaning=(
            "The same questions about the same held-out images were asked before and after. Old tasks were not "
            "trained on: what they lose is forgetting. The H-score is the harmonic mean of the old tasks' and the new "
            "task's share after tuning."
        ),
        caution=(
            "Intervals are bootstraps over questions: they say nothing of other seeds of the training. A task at the "
            "tick of guessing has nothing to be forgotten, and questions without choices count only where the answer "
            "comes word for word."
        ),
        figures=[bars, changes],
        tables=[
            Table(
                title="Share of right answers",
                columns=["task", "", "questions", "guessing", "before", "after", "change"],
                rows=_cells(result, rows, chances),
                note=f"95 % intervals; {result.rows:,} questions were learned from, with seed {result.config.seed}.",
            )
        ],
    )  # fmt: skip


def _training(result: TuningResult) -> Section:
    log = result.log
    losses = series_named(log, {"loss": "loss"})
    gradients = {"visual_drift": "drift", "gradient_cosine": "cosine", "gradient_removed": "removed"}
    norms = _with_prefix(log, "gradient_norm/") or {"grad_norm": "gradient norm"}
    figures = [
        curve("Loss of the new task", losses, "nats a token"),
        curve("Image states and gradients", series_named(log, gradients), ""),
        curve("Gradient norm by component", series_named(log, norms), "norm"),
    ]
    values = losses.get("loss", LoggedSeries([], [])).y
    went = f"The loss went from {values[0]:.3g} to {values[-1]:.3g}" if values else "The training left no loss"
    last = max((line.get("step", 0) for line in log), default=0)
    return Section(
        id="training",
        title="The training",
        summary=f"{went} in {last:,} steps ({result.config.arm}; one run).",
        meaning=(
            "Loss is the mean over the answers since the line before. Drift is how far the image tokens' states are "
            "from those of the model before tuning; the cosine is between the task's gradient and the drift's (below "
            "0 the task raises the drift), and removed is the share of the task gradient that was taken away."
            if result.config.method == "mdgd"
            else "Loss is the mean over the answers since the line before; gradient norms are those of the "
            "step, after clipping."
        ),
        caution="One run with one seed; the last values of a short run depend on which questions came last.",
        figures=[figure for figure in figures if figure is not None],
    )


def _balance(result: TuningResult) -> Section:
    log = result.log
    rates = curve("Learning rate by component", series_named(log, _with_prefix(log, "learning_rate/")), "rate")
    kappas = series_named(log, {"commit/log_kappa": "log kappa"})
    values = kappas.get("log kappa", LoggedSeries([], [])).y
    multipliers = series_named(log, _with_prefix(log, "commit/multiplier/"))
    summary = (
        f"The balance, log kappa, was {values[0]:+.2f} at the first line of the log that has one and "
        f"{values[-1]:+.2f} at the last (one run)."
        if values
        else "No balance was measured: the run had fewer steps than the first probe, or the arm measures none."
    )
    lost = max((int(line.get("commit/below_floor", 0)) for line in log), default=0)
    if lost:
        summary += f" In {lost} probes a component moved the output by no more than rounding does: they are left out."
    figures = [
        curve("Balance of the components", kappas, "log kappa"),
        curve("Multipliers", multipliers, "factor"),
        rates,
    ]
    return Section(
        id="balance",
        title="Balance of encoder and language model",
        summary=summary,
        meaning=(
            "Kappa is how far the language model's last step alone moved the output, over how far the encoder's did. "
            "Above 0 in the logarithm the encoder lags and its rate is raised. Rates are the schedule times the "
            "multiplier."
        ),
        caution="One probe is one batch; the multipliers follow a moving average of them.",
        figures=[figure for figure in figures if figure is not None],
    )


def _states(result: TuningResult) -> Section:
    figures = [
        _by_layer(result.log, "dataset_centred", "Effective rank over images", "effective rank"),
        _by_layer(result.log, "per_image_centred", "Effective rank within an image", "effective rank"),
        _by_layer(result.log, "drift", "Drift of the image states by layer", "relative to their size"),
    ]
    drifts = _with_prefix(result.log, "visual_rank/", "/drift")
    last = {name: line.y[-1] for name, line in series_named(result.log, drifts).items() if line.y}
    most = max(last, key=lambda name: last[name], default=None)
    summary = "No reading was taken." if most is None else (
        f"At the end the image states of layer {most} have moved the most, by {last[most]:.1%} of their size "
        "(one run)."
    )  # fmt: skip
    return Section(
        id="image-states",
        title="Image states",
        summary=summary,
        meaning=(
            "Effective rank counts the directions that the image tokens' hidden states really use, their mean taken "
            "off: over images, how many differences between images the model still tells. Drift is the distance "
            "from the states before tuning. Both are of the same held-out images throughout; each token's state is "
            "scaled to one length first, and attention sinks, whose one huge channel would hide all else, are left "
            "out."
        ),
        caution="A falling rank is no proof of forgetting, nor a steady one of its absence: see the answers above.",
        figures=[figure for figure in figures if figure is not None],
    )


def _by_layer(log: Sequence[Mapping[str, Any]], reading: str, title: str, y_label: str) -> Figure | None:
    names = _with_prefix(log, "visual_rank/", f"/{reading}")
    ordered = sorted(names, key=lambda name: int(names[name]))
    if len(ordered) > _LAYERS_SHOWN:
        shown = {round(k * (len(ordered) - 1) / (_LAYERS_SHOWN - 1)) for k in range(_LAYERS_SHOWN)}
        ordered = [name for index, name in enumerate(ordered) if index in shown]
    return curve(title, series_named(log, {name: f"layer {names[name]}" for name in ordered}), y_label)


def _with_prefix(log: Sequence[Mapping[str, Any]], prefix: str, suffix: str = "") -> dict[str, str]:
    """Name in the log -> what stands between prefix and suffix, in the order met."""
    every = (name for line in log for name in line)
    names = dict.fromkeys(name for name in every if name.startswith(prefix) and name.endswith(suffix))
    return {name: name.removeprefix(prefix).removesuffix(suffix) for name in names}


def _percent(value: Interval) -> str:
    return f"{value.estimate:.1%} [{value.lower:.1%}, {value.upper:.1%}]"


def _change(value: Interval) -> str:
    points = [100 * number for number in (value.estimate, value.lower, value.upper)]
    return f"{points[0]:+.1f} points [{points[1]:+.1f}, {points[2]:+.1f}]"
