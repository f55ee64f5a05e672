"""How CoMMIT's runs on sounds are told, from plain data."""

from collections.abc import Mapping
from typing import Any

from armillary.experiments.commit_curves import arms_pictures, mean_lines
from armillary.experiments.commit_scale import ARMS, AUDIO_RUNS, Start
from armillary.numerics.intervals import Interval
from armillary.runs.sections import Cell, Figure, Section, Table, interval_bars

Found = dict[str, Any]
_SLOW = "slow encoder"
_CONTROLS = ("constant", "matched", "exchanged")


def audio_section(found: Found, m: Mapping[str, Interval]) -> Section:
    """Losses and balance from a slow encoder, and a table of all arms and starts."""
    records = {ARMS[arm].title: [run["record"] for run in some] for arm, some in found["arms"][_SLOW].items()}
    lift, matched, exchanged = (m[f"audio/loss/{_SLOW}, lift over {name}"] for name in _CONTROLS)
    other = m["audio/loss/slow llm, lift over constant"]
    right, blind = m["audio/right/equal, constant"], m["audio/right without sounds"]
    return Section(
        id="audio",
        title="Sounds instead of pictures",
        summary="From an encoder's rate a hundred times too low CoMMIT-CLR's final loss is, relative to the same "
        f"rates left alone, {_percent(lift)}; to its own mean rates from the first step, {_percent(matched)}; to its "
        f"multipliers exchanged, {_percent(exchanged)}. From a slow language model it is {_percent(other)} relative "
        f"to the rates left alone. At equal rates {right.estimate:.0%} of the answers are right, {blind.estimate:.0%} "
        "without listening.",
        meaning="A small audio-text model (Whisper's encoder over log-mel spectrograms, a connector, Llama) learns to "
        "answer of what kind a sound is, how long it lasts and how high it is. The encoder is trained whole, so that "
        "it has much to learn; all arms of a seed share weights and batches. Loss and answers are of sounds held out.",
        caution="Some hundred sounds, ten kinds and one package: too small a set to say much about audio models.",
        figures=[
            _losses(found),
            *arms_pictures(records, "From a slow encoder"),
            *(_bars(start, m) for start in AUDIO_RUNS),
        ],
        tables=[Table(title="All arms", columns=_COLUMNS, rows=_rows(m), note=_NOTE)],
    )


def _percent(value: Interval) -> str:
    return f"{value.estimate:+.1%} [{value.lower:+.1%}, {value.upper:+.1%}]"


def _losses(found: Found) -> Figure:
    """Of each arm from the slow encoder, held-out loss over the steps."""
    runs = found["arms"][_SLOW]
    steps = runs["lift"][0]["watch"]["steps"]
    lines = {ARMS[arm].title: [run["watch"]["loss"] for run in some] for arm, some in runs.items()}
    return mean_lines("From a slow encoder: held-out loss", steps, lines, "nats a token", "Lines of the loss.")


def _bars(start: Start, m: Mapping[str, Interval]) -> Figure:
    values = {ARMS[arm].title: m[f"audio/final/{start}, {arm}"] for arm in AUDIO_RUNS[start]}
    return interval_bars(f"Final loss, start: {start}", values, "nats a token")


_COLUMNS = ["start", "arm", "final loss", "low", "high", "over constant", "low", "high", "late log kappa", "right"]
_NOTE = "Intervals are over seeds; over constant is seed by seed. Kappa is of the second half of the probes."


def _rows(m: Mapping[str, Interval]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for start, arms in AUDIO_RUNS.items():
        for arm in arms:
            final, over = m[f"audio/final/{start}, {arm}"], m.get(f"audio/loss/{start}, {arm} over constant")
            kappa = m.get(f"audio/late log kappa/{start}, {arm}")
            rows.append(
                [
                    start,
                    ARMS[arm].title,
                    *(final.estimate, final.low, final.high),
                    *((None,) * 3 if over is None else (over.estimate, over.low, over.high)),
                    None if kappa is None else kappa.estimate,
                    m[f"audio/right/{start}, {arm}"].estimate,
                ]
            )
    return rows
