"""How the classification rows of a Vector-ICL reproduction are told: sections with a picture each. Needs no model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.vector_icl.measures import Found as Found
from reproductions.vector_icl.scale import SNRS

Measures = Mapping[str, Interval]

_SECTION = {
    "pretraining-enables": "texts",
    "regression": "numbers",
    **dict.fromkeys(("tuning-helps", "linear-is-enough", "better-encoders"), "topics"),
    **dict.fromkeys(("beats-text-where-text-is-poor", "one-token-suffices"), "series"),
}
_DRAWN = ("vectors", "shuffled", "pretrained", "text", "1-NN", "logistic regression", "symbols")


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "digits")


def class_sections(found: Found, m: Measures) -> list[Section]:
    """Topics, digits, series, and the three smaller rows together."""
    return [_topics(found["topics"], m), _digits(found["digits"], m), _series(found["series"], m), _others(found, m)]


def shots_figure(name: str, shots: Sequence[int], m: Measures, title: str, arms: Sequence[str] = _DRAWN) -> Figure:
    """Accuracy against the number of shots, with intervals, of the arms that were measured."""
    series: list[dict[str, Any]] = []
    for arm in arms:
        values = [m.get(f"{name}/accuracy at {k}, {arm}") for k in shots]
        if all(value is not None for value in values):
            known = [value for value in values if value is not None]
            series.append(
                {
                    "name": arm,
                    "y": [value.estimate for value in known],
                    "low": [value.lower for value in known],
                    "high": [value.upper for value in known],
                }
            )
    told = "; ".join(f"{one['name']} {one['y'][0]:.2f} to {one['y'][-1]:.2f}" for one in series)
    return Figure(
        kind="lines",
        title=title,
        data={
            "x": list(shots),
            "series": series,
            "x_label": "demonstrations of each class",
            "y_label": "accuracy",
            "log_x": True,
        },
        alt=f"Lines of accuracy over shots: {told}.",
    )


def _table(names: Sequence[str], m: Measures, title: str, note: str = "") -> Table:
    rows: list[list[Cell]] = [
        [name.split("/", 1)[1], m[name].estimate, m[name].low, m[name].high, m[name].n] for name in names if name in m
    ]
    return Table(title=title, columns=["measure", "estimate", "low", "high", "queries"], rows=rows, note=note)


def _points(value: Interval) -> str:
    return f"{100 * value.estimate:+.0f} points [{100 * value.lower:.0f}, {100 * value.upper:.0f}]"


def _of(name: str, m: Measures) -> list[str]:
    return [key for key in m if key.startswith(f"{name}/")]


def _topics(row: Found, m: Measures) -> Section:
    encoders = {
        f"{name}: {told}": m[f"encoders/{kind}, {name}"]
        for name in row["encoders"]
        for kind, told in (("accuracy", "Vector-ICL"), ("probe", "logistic regression on all"))
    }
    return Section(
        id="topics",
        title="Topics of glosses: text is a good carrier",
        summary=f"Tuning gains {_points(m['topics/tuned minus pretrained'])} over pretraining alone; the tuned "
        f"projector is {_points(m['topics/vectors minus text'])} from few-shot text, the pretrained one "
        f"{_points(m['topics/pretrained minus text'])}; a gated projector gains "
        f"{_points(m['topics/mlp minus linear'])} on a linear one.",
        meaning="One box stands for a whole gloss. Vectors were tuned on a thousand labelled glosses, text on none: "
        "the fair rival of text is the projector that was pretrained alone. 1-NN and logistic regression see the same "
        "demonstrations, as vectors.",
        caution="Where shuffled labels do as well as right ones, the projector has learned the classes' names and the "
        "context is not read.",
        figures=[
            shots_figure("topics", row["shots"], m, "Six topics: accuracy over shots"),
            interval_bars("Encoders: accuracy at the middle number of shots", encoders, "accuracy"),
        ],
        tables=[_table(_of("topics", m), m, "Topics"), _table(_of("encoders", m), m, "Encoders")],
    )


def _digits(found: Found, m: Measures) -> Section:
    shots = found["episodes"][0]["shots"]
    return Section(
        id="digits",
        title="Handwritten digits: is it in-context learning?",
        summary=f"With words drawn anew for each episode, right labels beat shuffled ones by "
        f"{_points(m['digits/vectors minus shuffled'])}; with fixed labels by "
        f"{_points(m['digits, fixed labels/vectors minus shuffled'])}. Against 1-NN on the same shots: "
        f"{_points(m['digits/vectors minus 1-NN'])}.",
        meaning="In an episode, words that mean nothing stand for classes: only demonstrations say which. With fixed "
        "labels the projector may learn to name a digit by itself, and the language model reads its answer aloud.",
        caution="Accuracy falls where a test context is shorter than those of the training; their lengths were drawn "
        "at random here. Symbols: the class's name stands as text in the box's place, which a model that can learn "
        "labels in context copies.",
        figures=[
            shots_figure("digits", shots, m, "Episodes: accuracy over shots"),
            shots_figure("digits, fixed labels", found["fixed"]["shots"], m, "Fixed labels: accuracy over shots"),
        ],
        tables=[
            _table(_of("digits", m), m, "Episodes, all seeds"),
            _table(_of("digits, fixed labels", m), m, "Fixed labels, one seed"),
        ],
    )


def _series(found: Found, m: Measures) -> Section:
    shots, names = found["fixed"][0]["shots"], dict.fromkeys(row["task"] for row in found["fixed"])
    measured = dict(m)
    for name, value in m.items():  # a picture of its own for the episodes
        if name.startswith("series/") and name.endswith(", episodes"):
            measured["series, episodes" + name.removeprefix("series").removesuffix(", episodes")] = value
    figures = [shots_figure(f"series, {name}", shots, m, f"{name}: accuracy over shots") for name in names]
    episodes = found["episodes"][0]["shots"]
    return Section(
        id="series",
        title="Time series: text is a poor carrier",
        summary=f"Vectors tuned on the training parts against the series as 24 numbers: "
        f"{_points(m['series/vectors minus text'])}, with {m['series/tokens, text over vectors'].estimate:.1f} times "
        "fewer tokens a demonstration. "
        f"In episodes: {_points(m['series/vectors minus 1-NN, episodes'])} against 1-NN, "
        f"{_points(m['series/vectors minus shuffled, episodes'])} against shuffled labels.",
        meaning="Random convolutions and principal components make one vector of a series. One projector serves all "
        "three sets.",
        caution="With fixed names the curves are flat where the projector, not the context, solves the task. The "
        "projector saw all labels of the training part, the text arm only its demonstrations.",
        figures=[*figures, shots_figure("series, episodes", episodes, measured, "Episodes: accuracy over shots")],
        tables=[_table(_of("series", m), m, "Series, all sets and seeds")],
    )


def _others(found: Found, m: Measures) -> Section:
    rows = {
        "emoji": "Groups of emoji",
        "graphs": "Graphs of molecules",
        "tables": "Breast tumours",
        "brain": "Event-related fMRI",
    }
    most = found["emoji"]["shots"][-1]
    told = [
        f"{title}: {m[f'{name}/accuracy at {most}, vectors'].estimate:.0%} at {most} shots, "
        f"{_points(m[f'{name}/vectors minus shuffled'])} over shuffled labels, "
        f"{_points(m[f'{name}/vectors minus 1-NN'])} over 1-NN, ceiling "
        f"{m[f'{name}/accuracy, logistic regression on all'].estimate:.0%}"
        for name, title in rows.items()
    ]
    return Section(
        id="others",
        title="Pictures, graphs, tables and a brain scan",
        summary=". ".join(told) + ".",
        meaning="The same classifier on four more encoders: DINOv2's mean state of a picture, hashed neighbourhoods "
        "of a graph, standardised measurements, eight volumes of a region's signal (was something shown?). Text is a "
        "list of edges, of named measurements, or of numbers.",
        caution="One training each; intervals are over queries. A logistic regression on all training vectors, which "
        "has no language model, is the ceiling to beat.",
        figures=[
            shots_figure(name, found[name]["shots"], m, f"{title}: accuracy over shots")
            for name, title in rows.items()
        ],
        tables=[_table(_of(name, m), m, title) for name, title in rows.items()],
    )


# How rows R1, R3, R6 and R9 of a Vector-ICL reproduction are told: a section each, with pictures. Needs no model.


_RATIO = "signal over noise, as variances"


def text_sections(found: Found, m: Measures) -> list[Section]:
    """Pretraining on texts, numbers, molecules, signals."""
    return [
        _texts(found["texts"], m),
        _numbers(found["numbers"], m),
        _molecules(found["molecules"], m),
        _signals(found["signals"], m),
    ]


def interval_line(name: str, values: Sequence[Interval | None]) -> dict[str, Any]:
    """A line of a picture; None where nothing was measured."""
    return {
        "name": name,
        "y": [None if value is None else value.estimate for value in values],
        "low": [None if value is None else value.low for value in values],
        "high": [None if value is None else value.high for value in values],
    }


def told(value: Interval, unit: str = "") -> str:
    """An estimate with its interval."""
    return f"{value.estimate:.2f}{unit} [{value.lower:.2f}, {value.upper:.2f}]"


def _text_table(title: str, prefix: str, m: Measures) -> Table:
    rows: list[list[Cell]] = [
        [name.removeprefix(prefix), value.estimate, value.low, value.high, value.n]
        for name, value in m.items()
        if name.startswith(prefix)
    ]
    return Table(title=title, columns=["measure", "estimate", "low", "high", "n"], rows=rows)


def _shots_figure(
    title: str, name: Callable[[int, str], str], shots: Sequence[int], arms: Sequence[str], m: Measures, y_label: str
) -> Figure:
    """Lines over the number of demonstrations; an arm that was measured once is a point."""
    lines = [interval_line(arm, [m.get(name(k, arm)) for k in shots]) for arm in arms]
    known = [line for line in lines if any(value is not None for value in line["y"])]
    said = "; ".join(f"{line['name']} ends at {line['y'][-1]:.2f}" for line in known if line["y"][-1] is not None)
    return Figure(
        kind="lines",
        title=title,
        data={"x": list(shots), "series": known, "x_label": "demonstrations", "y_label": y_label, "log_x": True},
        alt=f"Lines of {y_label} over demonstrations: {said}.",
    )


def _texts(row: Found, m: Measures) -> Section:
    bars = {name.removeprefix("texts/loss, "): value for name, value in m.items() if name.startswith("texts/loss, ")}
    gaps = [m[f"texts/shuffled minus true, {start}"] for start in ("paper's start", "warm start")]
    soft = m["texts/soft prompt minus true, warm start"]
    before = m["texts/shuffled minus true, untrained warm start"]
    return Section(
        id="texts",
        title="Pretraining: does a box tell its text?",
        summary="A gloss is likelier behind its own vector than behind another's by "
        f"{told(gaps[0])} nats a token from the paper's start and {told(gaps[1])} from the ridge start, which has "
        f"{told(before)} before any training. Against a soft prompt: {told(soft)}.",
        meaning="One box stands for a whole gloss, and the language model is asked how likely the gloss is behind it. "
        "The difference to another gloss's box is what the box tells of its text; a soft prompt (one trained box for "
        "all) shows what a box is worth that tells nothing.",
        caution="The loss without a box is no fair rival: any trained box says that a gloss of a dictionary comes, "
        "which the model could not know. Training packs many pairs into a sequence, as the paper does; behind eight "
        f"pairs the gap is {told(m['texts/shuffled minus true, warm start, behind pairs'])} from the ridge start.",
        figures=[interval_bars("Loss of held-out glosses by projector and box", bars, "nats a token")],
        tables=[
            _text_table("Texts", "texts/", m),
            Table(
                title="Said again from its own box, ridge start",
                columns=["gloss", "greedy text"],
                rows=[list(pair) for pair in row["said"]["examples"]],
                note=f"F1 of words {told(m['texts/token F1, true box'])}; behind another's box "
                f"{told(m['texts/token F1, shuffled box'])}.",
            ),
        ],
    )


def _numbers(row: Found, m: Measures) -> Section:
    shots, seeds = row["shots"], len(row["seeds"])
    k = 8 if 8 in shots else shots[-1]
    ours, text = m[f"numbers/error at {k}, vectors"], m[f"numbers/error at {k}, text"]
    best = m[f"numbers/error at {k}, least squares"]
    arms = ("vectors", "shuffled", "random projector", "text", "mean", "least squares", "1-NN")
    return Section(
        id="numbers",
        title="Numbers: an unknown function of two",
        summary=f"Behind {k} points the relative error is {told(ours)} by digit vectors and {told(text)} by text; the "
        f"mean of the points that are shown gives {told(m[f'numbers/error at {k}, mean'])}. With answers exchanged "
        f"among the points it changes by {told(m[f'numbers/shuffled minus vectors at {k}'])}.",
        meaning="A and B are whole numbers of three digits, F = aA + bB is rounded, and a and b must be found from "
        f"points. Episodes ask functions that the training of the projector did not have; {seeds} "
        f"training{'s' if seeds > 1 else ''} of their own. Least squares knows that F is linear: {told(best)}.",
        caution="Whoever has learned the usual size of F does as well as the mean, without reading a point. Errors of "
        "answers with a digit too many are large, and a mean of few episodes shows it.",
        figures=[
            _shots_figure(
                "Relative error over points shown",
                lambda shown, arm: f"numbers/error at {shown}, {arm}",
                shots,
                arms,
                m,
                "mean of |error| / (value + 1)",
            )
        ],
        tables=[_text_table("Numbers", "numbers/", m)],
    )


def _molecules(row: Found, m: Measures) -> Section:
    shots = row["shots"]
    most = shots[-1]
    arms = ("vectors", "shuffled", "random projector", "soft prompt", "text", "1-NN")
    return Section(
        id="molecules",
        title="Molecules: text is a poor carrier",
        summary=f"At {most} demonstrations F1 of what a caption tells is "
        f"{told(m[f'molecules/F1 at {most}, vectors'])} by descriptors and {told(m[f'molecules/F1 at {most}, text'])} "
        f"by SMILES, which take {m['molecules/tokens, text over vectors'].estimate:.1f} times the tokens; without any "
        f"demonstration {told(m['molecules/F1 at 0, zero-shot'])}. The nearest of all training molecules gives "
        f"{told(m['molecules/F1 at 0, 1-NN of all'])}.",
        meaning="A caption is made from the molecule's groups, rings and weight by fixed rules, so that each part of "
        "it is right or wrong. Vectors are standardised descriptors, and their projector was tuned on captions.",
        caution=f"The most frequent caption has {told(m['molecules/F1 at 0, most frequent'])} without looking. Where "
        "vectors with shuffled captions do as well, the projector and not the context makes the caption. The text arm "
        "saw its demonstrations alone, the projector all training captions.",
        figures=[
            _shots_figure(
                "F1 of a caption's parts over demonstrations",
                lambda shown, arm: f"molecules/F1 at {shown}, {arm}",
                shots,
                arms,
                m,
                "F1 of parts",
            ),
            interval_bars("Without demonstrations of use", _at_zero(m), "F1 of parts"),
        ],
        tables=[
            _text_table("Molecules", "molecules/", m),
            Table(
                title=f"Captions at {most} demonstrations",
                columns=["right", "by descriptors", "by SMILES"],
                rows=[list(some) for some in row["examples"]],
            ),
        ],
    )


def _at_zero(m: Measures) -> dict[str, Interval]:
    start = "molecules/F1 at 0, "
    return {name.removeprefix(start): value for name, value in m.items() if name.startswith(start)}


def _signals(row: Found, m: Measures) -> Section:
    gaps = [m[f"signals/gap at SNR {snr}"] for snr in SNRS]
    decoder = [m[f"signals/decoder top-1 at SNR {snr}"] for snr in SNRS]
    figures = [
        Figure(
            kind="lines",
            title=title,
            data={"x": list(SNRS), "series": [interval_line(name, values)], "x_label": _RATIO, "y_label": label},
            alt=f"A line of {label} over noise: {', '.join(f'{value.estimate:.2f}' for value in values)}.",
        )
        for title, name, values, label in (
            ("What a box of a noisy signal tells", "gap", gaps, "nats a token, another's box minus own"),
            ("What a linear decoder finds in the signal", "ridge", decoder, "share of texts named rightly"),
        )
    ]
    return Section(
        id="signals",
        title="Signals as of a brain",
        summary="The gap between another's box and a text's own is "
        + ", ".join(f"{told(gap)} nats a token at a ratio of {snr}" for snr, gap in zip(SNRS, gaps, strict=True))
        + f"; a linear decoder names {decoder[0].estimate:.0%} to {decoder[-1].estimate:.0%} of the texts, by chance "
        f"{row['chance']:.0%}.",
        meaning="A simulated recording: 200 random mixtures of a text vector's numbers, with noise. It stands for the "
        "paper's scans, which could not be had. The decoder shows how much of the text is in the signal at all.",
        caution="Real recordings have noise that is not white and are no linear mixture of one encoder's vector: this "
        "shows what noise does, not what brains would give.",
        figures=figures,
        tables=[_text_table("Signals", "signals/", m)],
    )
