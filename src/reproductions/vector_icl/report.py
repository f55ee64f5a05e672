"""What the page shows beside the claims: curves over demonstrations, examples, and the rows that no claim reads."""

from collections.abc import Mapping, Sequence

from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Heatmap, Lines, Section, Series, Table
from reproductions.vector_icl.few_shot import LOGISTIC, LOGISTIC_OF_ALL, MAJORITY
from reproductions.vector_icl.scale import SNRS
from reproductions.vector_icl.setup import NEIGHBOUR, RANDOM, SHUFFLED, TEXT, VECTORS
from reproductions.vector_icl.stages import Results

Measures = Mapping[str, Interval]

_ARMS = (VECTORS, SHUFFLED, "pretrained", TEXT, NEIGHBOUR, LOGISTIC)
_OTHERS = {
    "emoji": "emoji: groups, by DINOv2's mean state of an image",
    "graphs": "graphs: aromatic ring with another atom than carbon, by hashed neighbourhoods",
    "tables": "tables: breast tumours, by standardised measurements",
    "brain": "brain: was something shown, by eight volumes of a region's signal",
}


def shot_figures(results: Results, m: Measures) -> dict[str, Figure]:
    """By claim the curves over the number of demonstrations that its bars can't show."""
    episodes, topics = results.digits.episodes[0].shots, results.topics.few_shot.shots
    fixed, numbers, captions = results.digits.fixed.shots, results.numbers.shots, results.molecules.shots
    baselines = ("mean", "least squares")
    return {
        "shots-help": over_shots("Digits in episodes", "digits/accuracy", episodes, m),
        "tuning-helps": over_shots("Topics of glosses", "topics/accuracy", topics, m),
        "fixed-labels-hide-a-classifier": over_shots(
            "Digits with fixed labels", "digits, fixed labels/accuracy", fixed, m
        ),
        "regression": over_shots(
            "Functions of two numbers", "numbers/error", numbers, m, (*_ARMS, RANDOM, *baselines), "relative error"
        ),
        "beats-text-where-text-is-poor": over_shots(
            "Captions of molecules", "molecules/F1", captions, m, y_label="F1 of parts"
        ),
    }


def over_shots(
    title: str,
    prefix: str,
    shots: Sequence[int],
    m: Measures,
    arms: Sequence[str] = _ARMS,
    y_label: str = "accuracy",
) -> Figure:
    """Lines with intervals of the arms that were measured; one that was measured once is a point."""
    series = []
    for arm in arms:
        values = [m.get(f"{prefix} at {k}, {arm}") for k in shots]
        if any(values):
            series.append(interval_line(arm, values))
    ends = "; ".join(f"{line.name} {line.y[-1]:.2f}" for line in series if line.y[-1] is not None)
    return Figure(
        title=f"{title}: {y_label} over demonstrations",
        data=Lines(x=list(shots), series=series, x_label="demonstrations", y_label=y_label, log_x=True),
        alt=f"Lines of {y_label} over demonstrations, which end at: {ends}.",
    )


def interval_line(name: str, values: Sequence[Interval | None]) -> Series:
    """A line with its intervals; None where nothing was measured."""
    return Series(
        name=name,
        y=[None if value is None else value.estimate for value in values],
        low=[None if value is None else value.low for value in values],
        high=[None if value is None else value.high for value in values],
    )


def example_tables(results: Results) -> dict[str, list[Table]]:
    """By claim what was said."""
    texts = Table(
        title="Said again from its own slot, ridge start",
        columns=["gloss", "greedy text"],
        rows=[list(pair) for pair in results.texts.examples],
    )
    captions = Table(
        title=f"Captions at {results.molecules.shots[-1]} demonstrations",
        columns=["right", "by descriptors", "by SMILES"],
        rows=[list(example) for example in results.molecules.examples],
    )
    return {"pretraining-enables": [texts], "beats-text-where-text-is-poor": [captions]}


def other_rows(results: Results, m: Measures) -> Section:
    """The rows that no claim reads: four more encoders, and texts behind a noisy recording."""
    most = results.emoji.shots[-1]
    columns = {arm: f"at {most}, {arm}" for arm in (VECTORS, SHUFFLED, TEXT, NEIGHBOUR)}
    columns |= {MAJORITY: MAJORITY, LOGISTIC_OF_ALL: LOGISTIC_OF_ALL}
    known = {name: [m.get(_accuracy(name, column)) for column in columns.values()] for name in _OTHERS}
    accuracy = Heatmap(
        rows=list(_OTHERS.values()),
        columns=list(columns),
        values=[[None if value is None else value.estimate for value in row] for row in known.values()],
        low=0.0,
        high=1.0,
        unit="accuracy",
    )
    gaps, decoder = ([m[f"signals/{name} at SNR {snr}"] for snr in SNRS] for name in ("gap", "decoder top-1"))
    signals = Lines(
        x=list(SNRS),
        series=[interval_line("nats a token, another's slot minus own", gaps), interval_line("decoded", decoder)],
        x_label="signal over noise, as variances",
        y_label="gap, and share of texts that a ridge decoder names",
    )
    sizes = ", ".join(f"{name} {m[_accuracy(name, columns[VECTORS])].estimate:.0%}" for name in _OTHERS)
    return Section(
        id="others",
        title="Images, graphs, tables, a brain scan and simulated signals",
        summary=f"Accuracy by vectors at {most} demonstrations of each class: {sizes}. A text's own slot is likelier "
        f"than another's by {gaps[0].estimate:.2f} nats a token behind a clean recording and {gaps[-1].estimate:.2f} "
        f"at a signal-to-noise ratio of {SNRS[-1]}; by chance a decoder names {results.signals.chance:.0%}.",
        meaning="The same classifier on four more encoders, and a simulated recording of texts: 200 random mixtures "
        "of a text vector's numbers, with noise. It stands for the paper's scans, which could not be had.",
        caution="One training each; intervals are over queries. A logistic regression on all training vectors, which "
        "has no language model, is the ceiling to beat. Real recordings have noise that is not white and are no "
        "linear mixture of one encoder's vector: this shows what noise does, not what brains would give.",
        figures=[
            Figure(title="Accuracy by row and arm", data=accuracy, alt=f"A map of accuracies; by vectors: {sizes}."),
            Figure(
                title="What a slot of a noisy signal tells",
                data=signals,
                alt=f"Lines over noise: the gap {', '.join(f'{gap.estimate:.2f}' for gap in gaps)}.",
            ),
        ],
    )


def _accuracy(name: str, column: str) -> str:
    return f"{name}/accuracy {column}" if column.startswith("at ") else f"{name}/accuracy, {column}"
