"""CoMMIT on the given language model, made into an image-text model: does the plumbing work on real weights?

[derived] DINOv2-small, a new connector as the feature encoder, LoRA on the last layers as what is trained of the
language model, from rates of which the encoder's is a hundred times the lower. Too short for statistics.

Shapes: Q held-out questions.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from armillary.data.images.questions import image_examples
from armillary.finetuning.connector import answer_nats
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.methods.commit import CoMMITConfig
from armillary.methods.commit.baselines import FixedMultipliers
from armillary.models import LoadedModel
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy, stored_states
from armillary.numerics.intervals import Interval, across_seeds, bootstrap_mean, paired_difference, range_over_seeds
from armillary.records.sections import Cell, Figure, Section, Table, interval_bars
from armillary.runs.parts import Parts
from armillary.training.components import FEATURE_ENCODER, LLM, RatesLog
from reproductions.commit.measures import Line, arm_figures, mean_lines
from reproductions.commit.scale import ARMS, FACTOR, MODEL_ARMS, RATE, TASKS, Scale
from reproductions.commit.small_models import Payload
from reproductions.commit.trainer import WatchedTrainer, trained, trainer_of

INTERVAL = 5
START = {FEATURE_ENCODER: RATE / FACTOR, LLM: RATE}


def on_given_model(loaded: LoadedModel, scale: Scale, seed: int, parts: Parts) -> Payload:
    """``runs``: arm -> what the run of each seed left; all arms of a seed begin with the same weights and rows.

    ``before`` has for each seed the loss of every held-out question before training, ``parameters`` the number of
    trained parameters of each component. Every run is kept as a part.
    """
    given = GivenModel(loaded, scale, seed, parts)
    seeds = [seed + offset for offset in range(scale.model_seeds)]
    before = [given.before(one) for one in seeds]
    runs = {arm: [given.run(arm, one) for one in seeds] for arm in MODEL_ARMS}
    return {"before": before, "parameters": runs["lift"][0]["parameters"], "runs": runs}


@dataclass(frozen=True, eq=False)
class GivenModel:
    """Trains it from the same weights as often as is asked for. The questions held out are those of ``seed``."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts

    def before(self, seed: int) -> list[float]:
        """Nats a token of each held-out answer ``[Q]`` with the untrained connector of a seed."""

        def read() -> list[float]:
            setup = self._ground(seed)
            with stored_states(setup.model):
                return self._asked(setup)

        found: list[float] = self.parts.json(f"model before, seed {seed}", read)
        return found

    def run(self, arm: str, seed: int) -> Payload:
        """Of one training: its record, multipliers by probe, loss by step, and ``after``, like ``before``."""
        found: Payload = self.parts.json(f"model {arm}, seed {seed}", lambda: self._run(arm, seed))
        return found

    def _run(self, arm: str, seed: int) -> Payload:
        scale, settings = self.scale, ARMS[arm].commit
        gamma = {"gamma": 0.0} if settings is None else settings
        setup = self._ground(seed)
        with stored_states(setup.model):
            trainer = trainer_of(
                with_lora(setup, scale, seed),
                _arguments(scale, seed, on_cpu=self.loaded.device.type == "cpu"),
                _rows(setup, scale, seed),
                partial(_collated, setup),
                (START[FEATURE_ENCODER], START[LLM]),
                CoMMITConfig(interval=min(INTERVAL, scale.interval), first_probe=scale.first_probe, **gamma),
                watched_only=settings is None,
                callbacks=self._baseline(arm, seed),
            )
            record = trained(trainer, f"{self.loaded.name} with pictures, {arm}, seed {seed}")
            return {**record, **_told(trainer), "after": self._asked(setup)}

    def _baseline(self, arm: str, seed: int) -> list[TrainerCallback]:
        """Multipliers of an arm that takes those of the lift run of the same seed, which is made first."""
        if arm not in ("matched", "exchanged"):
            return []
        mean = self.run("lift", seed)["mean_multipliers"]
        return [FixedMultipliers(exchanged(mean) if arm == "exchanged" else mean)]

    def _ground(self, seed: int) -> ImageTextSetup:
        return image_text_setup(self.loaded, "synthetic" if self.scale.synthetic else "emoji", seed=seed)

    def _asked(self, setup: ImageTextSetup) -> list[float]:
        limit = self.scale.model_asked
        examples = [
            one
            for task in TASKS
            for one in image_examples(setup.emoji, task, "validation", limit=limit, seed=self.seed)
        ]
        return [float(nats) for nats in answer_nats(setup.model, setup.rows, examples)]


def exchanged(multipliers: dict[str, float]) -> dict[str, float]:
    """Each component gets the other's."""
    return {FEATURE_ENCODER: multipliers[LLM], LLM: multipliers[FEATURE_ENCODER]}


def _told(trainer: WatchedTrainer) -> Payload:
    """What a finished training leaves beside its record; mean multipliers are of the rates of all steps."""
    rates = next(one for one in trainer.callback_handler.callbacks if isinstance(one, RatesLog))
    controller = trainer.monitor.controller
    assert controller is not None
    return {
        "multipliers": [list(probe.multipliers) for probe in controller.trace],
        "mean_multipliers": {
            name: fmean(step[f"learning_rate/{name}"] for step in rates.steps) / start for name, start in START.items()
        },
        "loss": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "parameters": {
            name: sum(parameter.numel() for parameter in part.values()) for name, part in controller.parts.items()
        },
    }


def _collated(setup: ImageTextSetup, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch without the numbers of its pictures, which are for caches."""
    return {name: value for name, value in setup.rows.collate(rows).items() if name != "image_key"}


def with_lora(setup: ImageTextSetup, scale: Scale, seed: int) -> nn.Module:
    """The model with LoRA on attention's queries and values of its last layers; these and the connector are trained.

    Call it inside ``stored_states``.
    """
    anatomy = find_vision_anatomy(setup.model)
    inside = {module for layer in anatomy.layers[-scale.lora["layers"] :] for module in layer.modules()}
    targets = [
        name
        for name, module in setup.model.named_modules()
        if module in inside and name.rsplit(".", 1)[-1] in ("q_proj", "v_proj")
    ]
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=scale.lora["rank"], lora_alpha=2 * scale.lora["rank"], target_modules=targets)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        model = cast(nn.Module, get_peft_model(setup.model, config))
    assert anatomy.connector is not None
    anatomy.connector.requires_grad_(True)
    return model


def _rows(setup: ImageTextSetup, scale: Scale, seed: int) -> list[dict[str, Any]]:
    each = max(2, scale.model_steps * scale.model_batch // len(TASKS) + 1)
    examples = [one for task in TASKS for one in image_examples(setup.emoji, task, "train", limit=each, seed=seed)]
    return [setup.rows.row(example) for example in examples]


def _arguments(scale: Scale, seed: int, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
        max_steps=scale.model_steps,
        per_device_train_batch_size=scale.model_batch,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


# How CoMMIT's run on the given language model is told, and what is measured of it, from plain data.

Found = dict[str, Any]
_COMPARED = (
    ("lift", "constant"),
    ("matched", "constant"),
    ("exchanged", "constant"),
    ("lift", "matched"),
    ("lift", "exchanged"),
)
_WINDOW = 5
"""Steps whose training losses make one point of a line: one batch of a few rows says little."""


def model_measures(found: Found) -> dict[str, Interval]:
    """Held-out losses (nats a token) and their differences over questions; balance and multipliers over seeds."""
    losses = {"before": found["before"], **{arm: [run["after"] for run in found["runs"][arm]] for arm in MODEL_ARMS}}
    means = {name: np.mean(rows, axis=0) for name, rows in losses.items()}
    seeds, questions = np.shape(found["before"])
    how = f"bootstrap over {questions} questions, each the mean of {seeds} seeds"
    out = {f"model/loss, {name}": bootstrap_mean(values, seed=0, how=how) for name, values in means.items()}
    for arm, other in (*_COMPARED, *((arm, "before") for arm in MODEL_ARMS)):
        out[f"model/loss, {arm} minus {other}"] = paired_difference(
            means[arm], means[other], seed=0, how=f"paired {how}"
        )
    for arm in MODEL_ARMS:
        out |= _balance(arm, found["runs"][arm])
    left, lift = (_late(found["runs"][arm]) for arm in ("constant", "lift"))
    if left and lift:
        out["model/late log kappa of rates left alone"] = range_over_seeds(left)
        closer = [abs(ours) - abs(theirs) for ours, theirs in zip(lift, left, strict=True)]
        out["model/late |log kappa|, lift minus constant"] = range_over_seeds(closer)
    return out


def _late(runs: Sequence[Found]) -> list[float]:
    """Mean log kappa over the second half of each run's probes; nothing where a run has none."""
    traces = [run["log_kappa"] for run in runs]
    return [float(np.mean(trace[len(trace) // 2 :])) for trace in traces] if all(traces) else []


def _balance(arm: str, runs: Sequence[Found]) -> dict[str, Interval]:
    how = f"t interval over {len(runs)} seeds"
    told = {"encoder": FEATURE_ENCODER, "llm": LLM}
    out: dict[str, Interval] = {}
    for short, name in told.items():
        means = [run["mean_multipliers"][name] for run in runs]
        out[f"model/mean multiplier of {short}, {arm}"] = across_seeds(means, how=how)
    late = _late(runs)
    if late:
        out[f"model/first log kappa, {arm}"] = across_seeds([run["log_kappa"][0] for run in runs], how=how)
        out[f"model/late log kappa, {arm}"] = across_seeds(late, how=how)
    return out


def model_section(found: Found, m: Mapping[str, Interval]) -> Section:
    """Losses and balance of every arm over the steps, a table of held-out losses, and what lift does to rates."""
    parts, runs = found["parameters"], found["runs"]
    gain, control = m["model/loss, lift minus constant"], m["model/loss, lift minus exchanged"]
    before, left = m["model/loss, before"], m["model/loss, constant"]
    return Section(
        id="model",
        title="On the given language model",
        summary=f"With a new connector ({parts[FEATURE_ENCODER]:,} numbers) and LoRA ({parts[LLM]:,}), the encoder's "
        f"rate a hundred times below: {_lag(m)} Held-out loss goes from {before.estimate:.2f} to {left.estimate:.2f} "
        f"nats a token with rates left alone; CoMMIT-CLR ends {_signed(gain)} from there, and {_signed(control)} "
        "from where its multipliers, exchanged, end.",
        meaning="The model was put together from DINOv2-small, a random connector and the language model, and trained "
        f"on questions about pictures; all arms of a seed share weights and batches. {len(found['before'])} seeds, "
        f"{len(found['before'][0])} questions about pictures held out.",
        caution="A few seeds of a few steps on one start: it shows that the method works on real weights, not what it "
        "is worth. The intervals are over questions, so they do not say how another training would end; those of the "
        "balance are over the few seeds, and wide.",
        figures=[
            _losses(runs),
            *arm_figures({ARMS[arm].title: runs[arm] for arm in MODEL_ARMS}, "Over training"),
            interval_bars(
                "Held-out loss over the same questions before training",
                {ARMS[arm].title: m[f"model/loss, {arm} minus before"] for arm in MODEL_ARMS},
                "nats a token; below 0 is better",
            ),
        ],
        tables=[_loss_table(m), _balance_table(m)],
    )


def _lag(m: Mapping[str, Interval]) -> str:
    """What the balance was and what was done about it."""
    multiplier = m["model/mean multiplier of encoder, lift"].estimate
    if "model/late log kappa, lift" not in m:
        return "no probe was usable."
    late = m["model/late log kappa, lift"].estimate
    return f"under CoMMIT-CLR late log kappa is {late:+.1f} and the encoder's mean multiplier {multiplier:.2f}."


def _signed(value: Interval) -> str:
    return f"{value.estimate:+.2f} [{value.lower:+.2f}, {value.upper:+.2f}]"


def _windows(losses: Sequence[float]) -> Line:
    return [float(np.mean(losses[start : start + _WINDOW])) for start in range(0, len(losses), _WINDOW)]


def _losses(runs: Found) -> Figure:
    steps = range(0, len(runs["lift"][0]["loss"]), _WINDOW)
    lines = {ARMS[arm].title: [_windows(run["loss"]) for run in runs[arm]] for arm in MODEL_ARMS}
    alt = "Lines of the training loss over the steps, one for each arm."
    return mean_lines(f"Training loss, means of {_WINDOW} steps", steps, lines, "nats a token", alt)


def _cells(told: str, value: Interval | None) -> list[Cell]:
    return [told, *((None,) * 3 if value is None else (value.estimate, value.low, value.high))]


def _loss_table(m: Mapping[str, Interval]) -> Table:
    rows = [_cells("before training", m["model/loss, before"])]
    rows += [_cells(ARMS[arm].title, m[f"model/loss, {arm}"]) for arm in MODEL_ARMS]
    rows += [
        _cells(f"{ARMS[arm].title}, minus: {ARMS[other].title}", m[f"model/loss, {arm} minus {other}"])
        for arm, other in _COMPARED
    ]
    note = "Intervals are over questions, those of differences over pairs."
    return Table(title="Held-out loss, nats a token", columns=["arm", "loss", "low", "high"], rows=rows, note=note)


def _balance_table(m: Mapping[str, Interval]) -> Table:
    told = ("first log kappa", "late log kappa", "mean multiplier of encoder", "mean multiplier of llm")
    rows = [_cells(f"{ARMS[arm].title}: {name}", m.get(f"model/{name}, {arm}")) for arm in MODEL_ARMS for name in told]
    note = "Late is the second half of the probes. Intervals are over seeds."
    return Table(title="Balance and rates", columns=["what", "mean", "low", "high"], rows=rows, note=note)
