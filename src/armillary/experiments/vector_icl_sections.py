"""How the classification rows of a Vector-ICL reproduction are told: sections with a picture each. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.experiments.vector_icl_measures import Found
from armillary.numerics.intervals import Interval
from armillary.runs.claims import ClaimResult, verdict_findings
from armillary.runs.sections import Cell, Figure, Finding, Section, Table, interval_bars

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


def shots_picture(name: str, shots: Sequence[int], m: Measures, title: str, arms: Sequence[str] = _DRAWN) -> Figure:
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
            shots_picture("topics", row["shots"], m, "Six topics: accuracy over shots"),
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
            shots_picture("digits", shots, m, "Episodes: accuracy over shots"),
            shots_picture("digits, fixed labels", found["fixed"]["shots"], m, "Fixed labels: accuracy over shots"),
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
    pictures = [shots_picture(f"series, {name}", shots, m, f"{name}: accuracy over shots") for name in names]
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
        figures=[*pictures, shots_picture("series, episodes", episodes, measured, "Episodes: accuracy over shots")],
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
            shots_picture(name, found[name]["shots"], m, f"{title}: accuracy over shots")
            for name, title in rows.items()
        ],
        tables=[_table(_of(name, m), m, title) for name, title in rows.items()],
    )
