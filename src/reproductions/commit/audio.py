"""CoMMIT on small audio-text models trained from scratch: does the method carry over from pictures to sounds?

[derived] The paper's audio models are SALMONN's; ours have Voxtral's architecture (Whisper's encoder, a connector,
Llama) at a width of 64, and answer questions about single sounds. The encoder is trained whole.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from armillary.cli.reproduce import ReproduceSettings
from armillary.numerics.intervals import Interval
from armillary.progress import track
from armillary.records.sections import Cell, Figure, Section, Table, interval_bars
from armillary.runs.parts import Parts
from reproductions.commit.audio_dataset import SoundDataset
from reproductions.commit.measures import (
    SHORT,
    arm_figures,
    by_arm,
    late_kappas,
    mean_lines,
    over_seeds,
    relative,
    speeds,
)
from reproductions.commit.scale import ARMS, AUDIO_RUNS, AUDIO_SIZES, BASELINES, SCALES, SLOW, STARTS, Start
from reproductions.commit.small_models import Context, Payload, majority
from reproductions.commit.sounds.sounds import Sounds


def audio_context(sounds: Sounds, config: ReproduceSettings, parts: Parts, device: torch.device) -> Context:
    """Where the audio models are trained, at the scale of the preset for sounds and with parts of its own names."""
    sizes: dict[str, Any] = AUDIO_SIZES[config.preset]
    scale = replace(SCALES[config.preset], **sizes)
    return Context(SoundDataset(sounds), scale, config.seed, parts, device, named="audio ")


def on_sounds(context: Context) -> Payload:
    """``arms``: start -> arm -> what each judged seed's run left; ``majority``: right answers without listening."""
    planned = [(start, arm) for start, arms in AUDIO_RUNS.items() for arm in arms]
    arms: Payload = {}
    for start, arm in track(planned, f"CoMMIT on sounds, arms of {len(context.judged)} seeds"):
        arms.setdefault(start, {})[arm] = [context.run(arm, STARTS[start], seed) for seed in context.judged]
    return {"arms": arms, "majority": majority(context)}


# What CoMMIT's runs on sounds amount to, as numbers with intervals. Needs no model.

Found = dict[str, Any]


def audio_measures(found: Found) -> dict[str, Interval]:
    """As of the runs on pictures, with ``audio/`` before each name; all intervals are over seeds."""
    arms = found["arms"]
    out = by_arm(arms) | speeds(arms) | _against(arms) | _balance(arms)
    out["right without sounds"] = Interval(estimate=found["majority"], how="most frequent answers")
    return {f"audio/{name}": value for name, value in out.items()}


def _against(arms: Found) -> dict[str, Interval]:
    """Lift and full CoMMIT over their baselines, and what a slow start costs."""
    out: dict[str, Interval] = {}
    for start in SLOW:
        out[f"harm/{start}"] = over_seeds(relative(arms[start]["constant"], arms["equal"]["constant"]))
        for other in ("matched", "exchanged"):
            out[f"loss/{start}, lift over {other}"] = over_seeds(relative(arms[start]["lift"], arms[start][other]))
    gains = [relative(arms[start]["lift"], arms[start]["matched"]) for start in SLOW]
    out["budget/lift over matched"] = over_seeds(np.mean(gains, axis=0).tolist())
    for baseline in BASELINES:
        out[f"loss/equal, full over {baseline}"] = over_seeds(relative(arms["equal"]["full"], arms["equal"][baseline]))
    return out


def _balance(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            late = late_kappas(some)
            out |= {f"late log kappa/{start}, {arm}": over_seeds(late)} if late else {}
        if "lift" in runs:
            for name, told in SHORT.items():
                means = [run["multipliers"][name] for run in runs["lift"]]
                out[f"mean multiplier of {told}/{start}, lift"] = over_seeds(means)
    return out


# How CoMMIT's runs on sounds are told, from plain data.

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
            *arm_figures(records, "From a slow encoder"),
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
