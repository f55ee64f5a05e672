"""How rows R1, R3, R6 and R9 of a Vector-ICL reproduction are told: a section each, with pictures. Needs no model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armillary.experiments.vector_icl_scale import SNRS
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Figure, Section, Table, interval_bars

Found = dict[str, Any]
Measures = Mapping[str, Interval]

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


def _table(title: str, prefix: str, m: Measures) -> Table:
    rows: list[list[Cell]] = [
        [name.removeprefix(prefix), value.estimate, value.low, value.high, value.n]
        for name, value in m.items()
        if name.startswith(prefix)
    ]
    return Table(title=title, columns=["measure", "estimate", "low", "high", "n"], rows=rows)


def _shots_picture(
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
            _table("Texts", "texts/", m),
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
            _shots_picture(
                "Relative error over points shown",
                lambda shown, arm: f"numbers/error at {shown}, {arm}",
                shots,
                arms,
                m,
                "mean of |error| / (value + 1)",
            )
        ],
        tables=[_table("Numbers", "numbers/", m)],
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
            _shots_picture(
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
            _table("Molecules", "molecules/", m),
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
        tables=[_table("Signals", "signals/", m)],
    )
