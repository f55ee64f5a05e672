"""How a CoMMIT reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.numerics.intervals import Interval, across_seeds
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.commit.claims import HARM
from reproductions.commit.measures import arm_figures, training_figure
from reproductions.commit.scale import ARMS, RUNS, SLOW, Scale

Found = dict[str, Any]
Measures = Mapping[str, Interval]

_SECTION = {
    **dict.fromkeys(("kappa-follows-rates", "overhead"), "measuring"),
    **dict.fromkeys(("unbalanced-at-equal-rates", "lagging-gradients-diminish", "oscillation-shrinks"), "balance"),
    **dict.fromkeys(("imbalance-hurts", "ratio-has-an-optimum"), "ratio"),
}
_WATCHED = "slow encoder"
_DRAWN = ("constant", "feature_cd", "language_cd", "lift", "balance", "full")


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "arms")


def notes(found: Found, m: Measures) -> dict[str, str]:
    """A sentence to a claim where a stage has something to say."""
    encoder, llm = found["grid"]["best"]
    told = {"no-harm": f"The best pair: encoder {encoder:.2g}, language model {llm:.2g}."}
    for start in SLOW:
        harm = m[f"harm/{start}"]
        if harm.lower <= HARM:
            told[f"repairs-{start.replace(' ', '-')}"] = (
                f"Left alone, this start ends {harm.estimate:+.1%} above the best pair: too little to repair."
            )
    return told


def sections(found: Found, m: Measures, scale: Scale) -> list[Section]:
    """Balance over training, ratio of rates, all arms, what measuring is worth and costs."""
    return [
        _balance(found["arms"], m),
        _ratio(found["paths"], m, scale),
        _arms(m),
        _measuring(m),
    ]


def _balance(arms: Found, m: Measures) -> Section:
    kappa = m["kappa/log kappa at equal rates"]
    bars = {
        name.removeprefix("kappa/late log kappa, "): value for name, value in m.items() if "late log kappa" in name
    }
    told = {"constant": "rates left alone", "lift": "with CoMMIT-CLR"}
    return Section(
        id="balance",
        title="Balance over training",
        summary=f"At equal rates the mean log kappa is {kappa.estimate:+.2f}: the "
        + ("language model" if kappa.estimate > 0 else "encoder")
        + " moves the output more.",
        meaning="Kappa is what the language model's step changes in the answers' distribution, over what the "
        "encoder's step changes, each taken alone (KL). Above 1 the encoder lags. The pictures are means over seeds "
        "from a start at which the encoder's rate is a hundred times too low.",
        caution="A balanced kappa is no goal in itself: read the losses of the arms.",
        figures=[
            *(
                training_figure([run["record"] for run in arms[_WATCHED][arm]], f"From a slow encoder, {title}")
                for arm, title in told.items()
            ),
            *arm_figures(
                {ARMS[arm].title: [run["record"] for run in arms[_WATCHED][arm]] for arm in _DRAWN},
                "From a slow encoder",
            ),
            interval_bars("Log kappa in the second half of training", bars, "log kappa; 0 is balanced"),
        ],
    )


def _ratio(paths: Found, m: Measures, scale: Scale) -> Section:
    series = []
    for name, rows in paths.items():
        values = [across_seeds(row) for row in rows]
        series.append(
            {
                "name": {"fixed mean": "fixed geometric mean", "one lowered": "the other one lowered"}[name],
                "y": [value.estimate for value in values],
                "low": [value.lower for value in values],
                "high": [value.upper for value in values],
            }
        )
    slow = [m[f"ratio/one lowered, rise to slow {name}"].estimate for name in ("encoder", "llm")]
    return Section(
        id="ratio",
        title="The ratio of the two rates",
        summary=f"A rate a hundred times lower costs {slow[0]:+.0%} of the loss in the encoder and {slow[1]:+.0%} in "
        "the language model.",
        meaning="Final validation loss at constant rates against the ratio of encoder's to language model's rate: "
        "once with a fixed geometric mean, so that one falls as the other rises, once with the larger rate fixed.",
        caution="At a fixed mean the ends differ in what rises as well as in what falls.",
        figures=[
            Figure(
                kind="lines",
                title="Final loss against the ratio of rates",
                data={
                    "x": list(scale.ratios),
                    "series": series,
                    "x_label": "log10 of encoder's rate over language model's",
                    "y_label": "nats per token",
                },
                alt="Two lines of the final loss over the ratio of the rates.",
            )
        ],
    )


def _arms(m: Measures) -> Section:
    figures, tables = [], []
    for start, names in RUNS.items():
        losses = {ARMS[name].title: m[f"final/{start}, {name}"] for name in names}
        figures.append(interval_bars(f"Final loss, start: {start}", losses, "nats per token"))
        rows: list[list[Cell]] = [_row(m, start, name) for name in names]
        tables.append(Table(title=f"Start: {start}", columns=_COLUMNS, rows=rows))
    right, blind = m["ground/right, best pair"], m["ground/right without pictures"]
    told = ", ".join(f"{start} {m[f'loss/{start}, lift over constant'].estimate:+.1%}" for start in RUNS)
    return Section(
        id="arms",
        title="Schedules compared",
        summary=f"Final loss of CoMMIT-CLR relative to the same rates left alone, by start: {told}. At the best pair "
        f"{right.estimate:.0%} of the answers are right, {blind.estimate:.0%} without looking.",
        meaning="Every arm of a seed begins with the same weights and sees the same rows. Slow starts have one rate a "
        "hundred times too low; the best pair was sought on another seed.",
        caution="Lift's mean rates from the first step need hindsight, and show whether the schedule or the larger "
        "rates did it. With the multipliers exchanged as much rate goes to the wrong component.",
        figures=figures,
        tables=tables,
    )


_COLUMNS = ["arm", "final loss", "over constant", "steps to constant's loss", "right"]


def _row(m: Measures, start: str, name: str) -> list[Cell]:
    over = m.get(f"loss/{start}, {name} over constant")
    return [
        ARMS[name].title,
        m[f"final/{start}, {name}"].estimate,
        None if over is None else over.estimate,
        m[f"speed/{start}, {name}"].estimate,
        m[f"right/{start}, {name}"].estimate,
    ]


def _measuring(m: Measures) -> Section:
    exponents = {name.removeprefix("law/exponent of "): m[name] for name in m if name.startswith("law/exponent")}
    time = m["overhead/time ratio"]
    return Section(
        id="measuring",
        title="What kappa answers to, and what it costs",
        summary=f"For small steps kappa goes with the square of a rate within "
        f"{m['law/largest deviation, small steps'].estimate:.1%}; ten steps with one probe take {time.estimate:.2f} "
        "times as long as ten without.",
        meaning="The exponent says with which power of a component's rate kappa changes, everything else being the "
        "same: 2 for the language model and -2 for the encoder if KL is quadratic in the step.",
        caution="The time is of small models, whose fixed costs weigh more.",
        figures=[
            interval_bars(
                "Power of the rate with which kappa changes",
                exponents,
                "exponent",
                reference=[-2.0 if name.startswith("encoder") else 2.0 for name in exponents],
            )
        ],
    )
