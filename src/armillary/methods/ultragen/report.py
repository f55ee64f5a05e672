"""Sections, measures and findings of what was built, trained, evaluated and analysed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armillary.methods.ultragen.analyse.attention import AttentionDilution
from armillary.methods.ultragen.analyse.counts import CountCurve
from armillary.methods.ultragen.analyse.position import FIFTHS, PositionBias
from armillary.methods.ultragen.evaluation import SatisfactionSummary
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Figure, Finding, Lines, Section, Series, Table, interval_bars

PLACES = ("first fifth", "second", "third", "fourth", "last fifth")


@dataclass(frozen=True, kw_only=True)
class UltragenPage:
    """What a report shows of one run."""

    measures: dict[str, Interval]
    sections: list[Section]
    findings: list[Finding] = field(default_factory=list)


def percent(value: Interval) -> str:
    """A share with its interval: "41 % (38 to 44)"."""
    if value.low is None or value.high is None:
        return f"{100 * value.estimate:.0f} %"
    return f"{100 * value.estimate:.0f} % ({100 * value.low:.0f} to {100 * value.high:.0f})"


def number(value: float, name: str = "") -> Interval:
    """A count as a measure."""
    return Interval(estimate=value, n=1, how=name or "counted")


# Building


@dataclass(frozen=True, kw_only=True)
class BuiltCounts:
    """What a build left."""

    rows: int
    held_out: int
    repeated: int
    attributes: float
    sets: int
    test_sets: int
    accuracy: list[float]
    """Held-out triplets told rightly before tuning the space and after each epoch."""

    doubt: str = ""
    """See ``AttributeSpace.doubt``."""

    pairs: int | None = None
    """None where no model was given."""

    left_out: dict[str, int] = field(default_factory=dict)


def build_page(counts: BuiltCounts, example: str) -> UltragenPage:
    """Counts of everything that was written, with one instruction to look at."""
    table: list[list[Cell]] = [
        ["rows to reconstruct", "ar.jsonl", counts.rows],
        ["texts held out, with their attributes", "test.jsonl", counts.held_out],
        ["sets that no text had, to train on", "sets.jsonl", counts.sets],
        ["sets that no text had, held out", "test_sets.jsonl", counts.test_sets],
    ]
    if counts.pairs is not None:
        table.append(["preference pairs", "pairs.jsonl", counts.pairs])
    summary = (
        f"{counts.rows:,} rows of {counts.attributes:.0f} attributes on average, {counts.held_out:,} texts held out, "
        f"and {counts.sets + counts.test_sets:,} sets of attributes that no text had."
    )
    if counts.pairs is not None:
        reasons = "; ".join(f"{times:,} of {reason}" for reason, times in counts.left_out.items())
        summary += f" {counts.pairs:,} pairs" + (f"; sets without one: {reasons}." if reasons else ".")
    tables = [Table(title="Files", columns=["what", "file", "lines"], rows=table)]
    figures = []
    if len(counts.accuracy) > 1:
        figures.append(
            Figure(
                title="Held-out triplets told rightly",
                data=Lines(
                    x=list(range(len(counts.accuracy))),
                    series=[Series(name="share", y=list(counts.accuracy))],
                    x_label="epoch (0: untuned)",
                    y_label="share",
                ),
                alt=f"From {counts.accuracy[0]:.2f} untuned to {max(counts.accuracy):.2f} at best; chance is 0.5.",
            )
        )
    tables.append(
        Table(title="The first instruction", columns=["line"], rows=[[line] for line in example.split("\n")])
    )
    section = Section(
        id="built",
        title="What was built",
        summary=summary,
        meaning="Each row's text has all attributes of its own instruction, which was checked. Sets are drawn in a "
        "space tuned so that attributes of one text lie close; an attribute there goes with its seed, and is unlike "
        "the others of its set.",
        caution=f"{counts.repeated:,} texts that repeat another's words were left out. A set that no text had may be "
        "harder than any text's, or impossible in a way that its parameters do not show.",
        figures=figures,
        tables=tables,
    )
    measures = {"rows": number(counts.rows), "sets": number(counts.sets + counts.test_sets)}
    if counts.pairs is not None:
        measures["pairs"] = number(counts.pairs)
    return UltragenPage(
        measures=measures,
        sections=[section],
        findings=[
            *([Finding(text=counts.doubt, interest=0.9, section="built")] if counts.doubt else []),
            Finding(text=summary, interest=0.5, section="built"),
        ],
    )


# Training


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """One stage of a training, as it is kept and shown."""

    rows: int
    left_out: int
    steps: list[float]
    losses: list[float]
    chosen_fall: float | None = None


def train_page(
    stages: Mapping[str, StageSummary], left_out: Mapping[str, int], notes: Sequence[str] = ()
) -> UltragenPage:
    """A curve a stage; ``stages`` by "reconstruction" and "preferences"."""
    measures: dict[str, Interval] = {}
    sections: list[Section] = []
    for name, stage in stages.items():
        losses = stage.losses
        measures[f"{name}/last loss"] = number(losses[-1] if losses else float("nan"), "mean since the line before")
        measures[f"{name}/rows"] = number(stage.rows)
        unit = "nats a token" if name == "reconstruction" else "nats"
        summary = f"{stage.rows:,} rows; loss from {losses[0]:.3f} to {losses[-1]:.3f} {unit}." if losses else ""
        if stage.left_out:
            summary += f" {stage.left_out:,} rows were longer than allowed and left out."
        if name == "preferences" and left_out:
            reasons = "; ".join(f"{times:,} of {reason}" for reason, times in left_out.items())
            summary += f" Sets without a pair: {reasons}."
        sections.append(
            Section(
                id=name,
                title=f"Stage {len(sections) + 1}: {name}",
                summary=summary,
                meaning="Loss on the text behind its attributes, over the optimiser's steps."
                if name == "reconstruction"
                else "Loss of preferring the better of two responses; log 2 = 0.693 is no preference.",
                caution="A loss says how well training went, not that more attributes are satisfied: evaluate the "
                "model on held-out sets, beside the best of several responses of the model before.",
                figures=[
                    Figure(
                        title="Loss",
                        data=Lines(
                            x=list(stage.steps), series=[Series(name="loss", y=list(losses))], x_label="step",
                            y_label=f"loss, {unit}",
                        ),
                        alt=summary or "No line was logged.",
                    )
                ],
                tables=[],
            )
        )  # fmt: skip
    return UltragenPage(
        measures=measures,
        sections=sections,
        findings=[Finding(text=note, interest=0.8, section=sections[-1].id) for note in notes],
    )


# SatisfactionSummary


def evaluate_page(evaluation: SatisfactionSummary, *, model: str, outline: Interval | None) -> UltragenPage:
    """CSR with what it is made of, and what more samples or an outline would give."""
    k = len(evaluation.best_of)
    best = {f"best of {point.k}": point.csr for point in evaluation.best_of}
    parts = {
        "all": evaluation.csr, "without what forbids": evaluation.asking, "hard": evaluation.hard,
        "soft": evaluation.soft, "all attributes together": evaluation.micro, "every one at once": evaluation.joint,
    }  # fmt: skip
    known = {name: value for name, value in parts.items() if value is not None}
    summary = (
        f"{model} satisfies {percent(evaluation.csr)} of {evaluation.attributes:.0f} attributes on average; the best "
        f"of {k} responses {percent(evaluation.best_of[-1].csr)}; {percent(evaluation.joint)} of responses have all."
    )
    quality = {
        "repeated 4-grams": evaluation.repeated, "distinct 2-grams": evaluation.distinct_2,
        "words": evaluation.words, "word F1 to the source": evaluation.f1,
    }  # fmt: skip
    compared = {"one response": evaluation.csr, **{name: value for name, value in list(best.items())[1:]}}
    if outline is not None:
        compared["outline first"] = outline
    rows: list[list[Cell]] = [
        [kind.replace("_", " "), value.estimate, value.low, value.high, value.n]
        for kind, value in sorted(evaluation.by_kind.items(), key=lambda item: item[1].estimate)
    ]
    sections = [
        Section(
            id="satisfied",
            title="How much is satisfied",
            summary=summary,
            meaning="Share of a prompt's attributes that a response has (CSR), mean over responses and prompts; bars "
            "with 95 % intervals by bootstrap over prompts.",
            caution="What forbids something is satisfied for free, by an empty text too; so look at the bar without "
            f"it. {evaluation.unjudged:,} verdicts were not judged (soft attributes need a judge) and count nowhere.",
            figures=[interval_bars("Satisfied share", known, "share")],
            tables=[
                Table(
                    title="By kind of attribute, the hardest first",
                    columns=["kind", "satisfied", "low", "high", "prompts"],
                    rows=rows,
                )
            ],
        ),
        Section(
            id="budget",
            title="What more samples give without training",
            summary=f"The best of {k} responses, chosen by the same checks, reaches "
            f"{percent(evaluation.best_of[-1].csr)}.",
            meaning="Rejection sampling: expected CSR of the best of so many responses. A tuned model is worth its "
            "training where one response of it does better than the best of several of the model before.",
            caution="The best is chosen by the measure that is reported, as it would be in use.",
            figures=[interval_bars("CSR by what it costs", compared, "share")],
        ),
        Section(
            id="quality",
            title="How the texts are written",
            summary=f"{evaluation.words.estimate:.0f} words on average, {percent(evaluation.repeated)} of 4-grams "
            "repeated.",
            meaning="Numbers of the texts that no attribute asks for: lists of keywords and loops show here.",
            caution="None of them says that a text is good.",
            tables=[
                Table(
                    title="Texts",
                    columns=["what", "mean", "low", "high"],
                    rows=[[name, value.estimate, value.low, value.high] for name, value in quality.items() if value],
                )
            ],
        ),
    ]
    measures = {"csr": evaluation.csr, f"csr/best of {k}": evaluation.best_of[-1].csr, "csr/joint": evaluation.joint}
    more = {"csr/hard": evaluation.hard, "csr/soft": evaluation.soft, "csr/asking": evaluation.asking}
    more |= {"csr/outline first": outline, "quality/repeated": evaluation.repeated, "quality/f1": evaluation.f1}
    measures |= {name: value for name, value in more.items() if value is not None}
    findings = [Finding(text=summary, interest=1.0, section="satisfied", basis=evaluation.csr.how)]
    return UltragenPage(measures=measures, sections=sections, findings=findings)


# Analysis


def analyse_page(
    bias: PositionBias, curve: CountCurve | None, dilution: AttentionDilution | None, *, model: str
) -> UltragenPage:
    """Position, number of attributes, attention."""
    places = dict(zip(PLACES if len(bias.fifths) == FIFTHS else map(str, range(9)), bias.fifths, strict=False))
    slope, range_ = bias.slope, bias.range
    side = "no place is shown to be favoured"
    if slope.excludes(0):
        side = "early attributes are favoured" if slope.estimate < 0 else "late attributes are favoured"
    summary = (
        f"In {model}, {side}: log-odds change by {slope.estimate:+.2f} ({slope.lower:+.2f} to {slope.upper:+.2f}) "
        f"from the first place to the last; the fifths differ by {100 * range_.estimate:.0f} points, where chance "
        f"stays below {100 * bias.range_by_chance:.0f} in 95 of 100."
    )
    sections = [
        Section(
            id="position",
            title="Does the place in the prompt matter?",
            summary=summary,
            meaning="Satisfied share by fifth of the prompt, orders drawn at random; the slope is that of a logistic "
            "regression with an effect for each kind of attribute.",
            caution=f"Without effects of kinds the slope is {bias.slope_without_kinds.estimate:+.2f}: where the two "
            "differ, kinds stand at different places.",
            figures=[interval_bars("Satisfied share by place", places, "share")],
        )
    ]
    measures = {"position/slope": slope, "position/range": range_}
    findings = [Finding(text=summary, interest=0.8, section="position", basis=slope.how)]
    if curve is not None:
        counts = sorted(curve.csr)
        text = (
            f"From {counts[0]} to {counts[-1]} attributes the satisfied share falls by "
            f"{100 * curve.fall.estimate:.0f} points ({100 * curve.fall.lower:.0f} to {100 * curve.fall.upper:.0f})."
        )
        values = [curve.csr[count] for count in counts]
        sections.append(
            Section(
                id="counts",
                title="How does satisfaction fall with the number of attributes?",
                summary=text,
                meaning="Each prompt's larger lists hold its smaller ones, so that every count is equally hard.",
                caution=f"{curve.prompts:,} prompts that have attributes enough for the largest count.",
                figures=[
                    Figure(
                        title="Satisfied share by number of attributes",
                        data=Lines(
                            x=list(counts),
                            series=[
                                Series(
                                    name="CSR",
                                    y=[value.estimate for value in values],
                                    low=[value.low for value in values],
                                    high=[value.high for value in values],
                                )
                            ],
                            x_label="attributes",
                            y_label="satisfied share",
                        ),
                        alt=text,
                    )
                ],
            )
        )
        measures["counts/fall"] = curve.fall
        findings.append(Finding(text=text, interest=0.9, section="counts", basis=curve.fall.how))
    if dilution is not None:
        section, more = _attention(dilution)
        sections.append(section)
        measures |= more
    return UltragenPage(measures=measures, sections=sections, findings=findings)


def _attention(dilution: AttentionDilution) -> tuple[Section, dict[str, Interval]]:
    counts = sorted(dilution.share)
    rows: list[list[Cell]] = []
    for count in counts:
        ratio = dilution.selectivity.get(count)
        share, even = dilution.share[count], dilution.even[count]
        rows.append([
            count, share.estimate, share.low, share.high, even, None if ratio is None else ratio.estimate,
            None if ratio is None else ratio.low, None if ratio is None else ratio.high, dilution.responses[count],
        ])  # fmt: skip
    first, last = dilution.share[counts[0]].estimate, dilution.share[counts[-1]].estimate
    section = Section(
        id="attention",
        title="Is attention diluted?",
        summary=f"An attribute gets {100 * first:.2f} % of a token's attention among {counts[0]} attributes and "
        f"{100 * last:.2f} % among {counts[-1]}.",
        meaning="Attention of a text's tokens to the tokens of one attribute of its prompt, mean over layers, heads "
        "and attributes; selectivity is that where the attribute is realised over that elsewhere.",
        caution="Attention to a token is not use of it. Read on the texts that the attributes came from, so that two "
        "models are compared on the same tokens; 'even' is what the attributes' length alone would give.",
        tables=[
            Table(
                title="By number of attributes",
                columns=["attributes", "attention", "low", "high", "even", "selectivity", "low ", "high ", "texts"],
                rows=rows,
            )
        ],
    )
    measures = {f"attention/{count}": dilution.share[count] for count in counts}
    measures |= {f"selectivity/{count}": ratio for count, ratio in dilution.selectivity.items()}
    return section, measures
