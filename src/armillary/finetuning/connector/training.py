"""How a connector learns: questions about images, several in one row, with adapters of the language model beside it.

LLaVA (arXiv 2304.08485, section 4.2) trains the connector first and the language model after it. [derived] The mix of
questions and the settings are ours, and both learn at once, since the connector has had a start.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.errors import NumericError
from armillary.finetuning.config import ConnectorConfig
from armillary.methods.mdgd.baselines import language_lora
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.scoring.answers import answer_log_probabilities
from armillary.training.checkpoints import (
    StepBar,
    TrainableWeightsMixin,
    last_checkpoint,
    only_trainable,
    train_or_resume,
)
from armillary.training.image_rows import ImageRows, SharedRow
from armillary.training.questions import IGNORED

LEARNED: tuple[ImageTask, ...] = ("name", "group", "style", "colour", "keyword")
"""Tasks that are learned; of each image what can be asked about it."""

Reading = dict[str, float]
"""What validation images show: by the name of a measure."""

_SCORED_AT_ONCE = 32
_WARMUP = 0.03
"""Share of the steps in which the rate rises: the adapters' first steps should be small."""

_BESIDE = 0.2
"""Of the adapters' rate, the connector's: it has had a start."""

_KEYWORD_SHARE = 0.25
"""Of the images, those asked for a keyword."""

_SAVE_EVERY = 50
"""Steps between checkpoints, which hold what is trained alone: a kill costs a minute or so."""


def by_image(emoji: Emoji, split: str, *, seed: int) -> list[list[ImageExample]]:
    """The questions about each image of a split, images in a random order; of the keyword's two questions one."""
    of_image: dict[tuple[int, int], list[ImageExample]] = defaultdict(list)
    keywords = max(2, int(2 * _KEYWORD_SHARE * len(emoji.split(split)) * len(emoji.styles)))
    for task in LEARNED:
        for example in image_examples(emoji, task, split, limit=keywords if task == "keyword" else None, seed=seed):
            questions = of_image[example.image, example.style]
            if task != "keyword" or not any(other.choices == example.choices for other in questions):
                questions.append(example)
    order = sorted(of_image)
    random.Random(f"images {split} {seed}").shuffle(order)
    return [of_image[key] for key in order]


@contextmanager
def adapted(model: LlavaForConditionalGeneration, rank: int, seed: int) -> Iterator[list[list[nn.Parameter]]]:
    """Inside, what learns: the connector's parameters and, for a rank above 0, adapters', merged at the end."""
    connector = find_vision_anatomy(model).connector
    assert connector is not None
    if not rank:
        yield [list(connector.parameters())]
        return
    from peft import get_peft_model

    kept = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        around = get_peft_model(model, language_lora(model, rank))
    yield [list(connector.parameters()), [weight for weight in model.parameters() if weight.requires_grad]]
    cast(Any, around).merge_and_unload()
    for parameter, needed in kept:
        parameter.requires_grad_(needed)


def train_connector(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    groups: Sequence[Sequence[nn.Parameter]],
    config: ConnectorConfig,
    folder: Path,
    *,
    read: Callable[[], Reading] | None = None,
    save_every: int = _SAVE_EVERY,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[list[tuple[int, float]], list[tuple[int, Reading]]]:
    """Trains what ``adapted`` gives; (step, mean training loss in nats since the step before), and the readings.

    Checkpoints go to ``folder``; a run that was killed goes on from the last one there, to the same weights. With
    stored states in ``rows`` call it inside ``stored_states(model)``. NumericError where the loss stops being finite.
    """
    examples = by_image(rows.emoji, "train", seed=config.seed)
    dataset: list[SharedRow] = [rows.shared_row(of_image) for of_image in examples]
    readings = [] if read is None else [_Readings(read, math.ceil(config.steps / config.readings))]
    trained = [weight for group in groups for weight in group]
    rates = [config.learning_rate * (_BESIDE if index + 1 < len(groups) else 1.0) for index in range(len(groups))]
    given = [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    with only_trainable(model, trained), counted("Training the connector", config.steps) as bar:
        trainer = _ConnectorTrainer(
            model=model,
            args=_arguments(config, folder, save_every, on_cpu=model.device.type == "cpu"),
            train_dataset=cast(Any, dataset),
            data_collator=rows.collate,
            callbacks=[StepBar(bar), *readings, *callbacks],
            optimizers=(torch.optim.AdamW(given, weight_decay=0.0), None),
        )
        trainer.bfloat16 = config.bfloat16
        # It would print its own summary on stdout, where --json leaves nothing but the record.
        trainer.remove_callback(PrinterCallback)
        train_or_resume(trainer, last_checkpoint(folder))
    model.eval()
    history = trainer.state.log_history
    curve = [(int(log["step"]), float(log["loss"])) for log in history if "loss" in log]
    finite = all(bool(torch.isfinite(weight).all()) for weight in trained)
    if not finite or not all(math.isfinite(loss) for _, loss in curve):
        raise NumericError(
            f"the training loss stopped being finite; lower the learning rate of {config.learning_rate:g}."
        )
    return curve, [(int(log["step"]), cast(Reading, log["reading"])) for log in history if "reading" in log]


def answer_nats(
    model: LlavaForConditionalGeneration, rows: ImageRows, examples: Sequence[ImageExample]
) -> NDArray[np.float64]:
    """Negative log-likelihood (nats a token) of each right answer with its end token."""
    nats: list[float] = []
    for start in range(0, len(examples), _SCORED_AT_ONCE):
        batch = examples[start : start + _SCORED_AT_ONCE]
        prompts = rows.collate([rows.row(example, answered=False) for example in batch])
        scores = answer_log_probabilities(
            model, prompts, [[rows.answer(example.answer)] for example in batch], nameless=rows.nameless
        )
        nats += [-float(score.mean[0]) for score in scores]
    return np.array(nats)


class _Readings(TrainerCallback):
    """Reads before the first step, every so many, and at the end; kept in the log, and so in the checkpoints."""

    def __init__(self, read: Callable[[], Reading], every: int) -> None:
        self.read, self.every = read, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The connector as it begins."""
        if state.global_step == 0:
            self._read(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A reading where it is time."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._read(state, kwargs["model"])

    def _read(self, state: Any, model: nn.Module) -> None:
        training = model.training
        state.log_history.append({"step": state.global_step, "reading": self.read()})
        model.train(training)


class _ConnectorTrainer(TrainableWeightsMixin, Trainer):
    """The stock Trainer; its checkpoints hold what is trained alone, and the head is asked at answers only."""

    bfloat16 = False

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood (nats) of the learned tokens, over rows of several questions."""
        given, joined = dict(inputs), cast(Any, self.accelerator.unwrap_model(model))
        labels_BT, mask_B1TT = given.pop("labels"), given.pop("attention_mask")
        given.pop("image_key")
        hidden = torch.zeros(mask_B1TT.shape, dtype=joined.dtype, device=mask_B1TT.device)
        hidden.masked_fill_(~mask_B1TT, torch.finfo(joined.dtype).min)
        learned_BT = labels_BT[:, 1:] != IGNORED
        with torch.autocast(labels_BT.device.type, torch.bfloat16, enabled=self.bfloat16):
            states_BTD = joined.base_model(**given, attention_mask=hidden, use_cache=False).last_hidden_state
            logits_NV = joined.get_output_embeddings()(states_BTD[:, :-1][learned_BT])
        return functional.cross_entropy(logits_NV.float(), labels_BT[:, 1:][learned_BT])


def _arguments(config: ConnectorConfig, folder: Path, save_every: int, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(_WARMUP * config.steps),
        weight_decay=0.0,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        logging_steps=max(1, config.steps // 40),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
