"""A step of MDGD against a plain one and against the naive two forwards; the memory of its mask against AdamW.

    python benchmarks/mdgd.py [--model smollm2-135m-instruct] [--quick]

All arms train copies of one image-text model (DINOv2-small, a connector and the language model, put together anew; a
tiny random one with --quick) by the same batches of pictures and take turns in one process. The naive version runs the
model twice a step, once for the task and once for the drift, as two losses with two backward passes; ours takes both
gradients from one forward. Of the reference, the cached states were computed before. Ratios are peer over ours: above
1 we need less, so a plain step comes out below 1. Memory is what an arm adds to the process that holds the model: its
gradients, activations and the state of its optimiser at most in two steps and what comes before them, each arm in a
process of its own.

The floor of a step, counted by PyTorch: a plain step takes 67.1 billion operations (its forward 32.1, of which the
vision tower 2.0), one with a cached reference 94.2, which is 1.40 times as many: the drift is of every layer but the
last, so its gradient is a second backward pass down to the connector, with the weights' gradients of the trained
layers again and without the head. Two gradients can share no work. The projection is sums and one update over the
trained entries: 0.8 ms of processor time for a million of them, 1.2 before it was done in place.

The floor of the memory, of P trained entries: AdamW holds 3 P (gradient, two moments). With a share r kept it is
P + 3 r P and the activations: the visual gradient must be whole when the task's arrives, which goes tensor by tensor;
of the kept entries there are two moments in float32 and a position in int32. Choosing the mask needs P besides the
activations too: the weights as they were and the sums of scores lie in a file of the run's folder meanwhile. Before,
that choice was the peak (four copies of P), so that the compact state showed no gain.
"""

import argparse
import copy
import gc
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Hardware, add_hardware, hardware_of, interleaved, medians, per, ratio, show_and_save, timed
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.methods.mdgd import MDGDSettings, MDGDTrainer, drift_loss, visual_hidden_states
from armillary.methods.mdgd.drift import watch
from armillary.models.image_text import assemble_image_text_model, smooth_images
from armillary.models.tiny_vision_models import tiny_vision
from armillary.models.vision import find_vision_anatomy

LAYERS, TEXT, ROWS = 6, 12, 4
PLAIN = {"projection": "none", "visual_align_weight": 0.0}
ARMS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "cached": {"preset": "paper", "reference": "cache"},
    "copy": {"preset": "paper", "reference": "copy"},
    "masked": {"preset": "paper", "reference": "cache", "mask_ratio": 0.1},
}
Built = tuple[Any, list[dict[str, Tensor]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    add_hardware(parser)
    parser.add_argument("--arm", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    hardware = hardware_of(options)
    repeats, steps = (1, 2) if options.quick else (options.repeats, options.steps)
    warnings.simplefilter("ignore")
    if options.arm:
        print(json.dumps(memory(build(options.model, options.quick), options.arm, hardware)))
        return
    built = build(options.model, options.quick)
    arms: dict[str, Callable[[int], dict[str, float]]] = {
        name: partial(a_step, trainer(built, name, steps, hardware)) for name in ("plain", "cached", "copy")
    }
    arms["naive"] = partial(a_step, NaiveTrainer(built, steps, hardware))
    for arm in arms.values():
        arm(0)  # warm-up, and the cache is filled
    gc.freeze()  # a Trainer collects garbage before every training, which the few steps timed here would pay for
    found = interleaved(arms, repeats)
    rows = [
        row(what, found, peer, own, "seconds")
        for what, peer, own in (
            ("a step against a plain one, reference cached: time, s", "plain", "cached"),
            ("a step against a plain one, frozen copy: time, s", "plain", "copy"),
            ("a step against two forwards, cached: time, s", "naive", "cached"),
            ("a step against two forwards, frozen copy: time, s", "naive", "copy"),
        )
    ]
    used = interleaved(
        {name: partial(isolated, options, hardware, name) for name in ("plain", "masked")}, 1 if options.quick else 2
    )
    rows.append(
        row("MDGD-GM, 10 % of the entries, against AdamW: memory of training, MB", used, "plain", "masked", "mb")
    )
    settings = {"trained layers": LAYERS, "rows of a batch": ROWS, "steps timed together": steps}
    name = "tiny-llava" if options.quick else Path(options.model).name
    title = "Modality-decoupled gradient descent"
    show_and_save("mdgd", title, name, settings, rows, hardware=hardware, quick=options.quick)


def build(model: str, quick: bool) -> Built:
    """An image-text model of which the connector and the last layers are trained, and rows for it, on the processor:
    each Trainer moves its own."""
    if quick:
        tiny = tiny_vision("llava")
        inner, batch = tiny.model, tiny.batch(ROWS)
    else:
        inner, _ = assemble_image_text_model(Hardware().load(model, trained=True))
        batch = images(inner)
    layers = find_vision_anatomy(inner).layers[-LAYERS:]
    trained = {id(p) for layer in layers for p in layer.parameters()}
    anatomy = find_vision_anatomy(inner)
    for name, parameter in inner.named_parameters():
        parameter.requires_grad_(id(parameter) in trained or anatomy.component(name) == "connector")
    return inner, [{name: value[i] for name, value in batch.items()} for i in range(ROWS)]


def images(model: Any) -> dict[str, Tensor]:
    """Soft random pictures and random words."""
    generator = torch.Generator().manual_seed(0)
    tokens = model.config.image_seq_length
    words = torch.randint(100, 20_000, (ROWS, TEXT), generator=generator)
    images = torch.full((ROWS, tokens), find_vision_anatomy(model).image_token_id)
    ids = torch.cat([images, words], dim=1)
    labels = ids.clone()
    labels[:, : tokens + TEXT // 2] = -100
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "pixel_values": smooth_images(ROWS, model.config.vision_config.image_size, seed=1),
        "image_key": torch.arange(ROWS),
    }


def trainer(built: Built, arm: str, steps: int, hardware: Hardware) -> MDGDTrainer:
    model, rows = built
    if "image_key" not in rows[0]:
        rows = [{**row, "image_key": torch.tensor(i)} for i, row in enumerate(rows)]
    made = MDGDTrainer(
        model=copy.deepcopy(model),
        args=arguments(steps, hardware),
        train_dataset=rows,
        settings=MDGDSettings(**ARMS[arm]),
    )
    made.remove_callback(PrinterCallback)
    return made


def arguments(steps: int, hardware: Hardware) -> TrainingArguments:
    return TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=ROWS,
        learning_rate=1e-4,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **hardware.training,
    )


class NaiveTrainer(Trainer):
    """The obvious way: a forward for the task, another for the drift, and the reference's own forward."""

    def __init__(self, built: Built, steps: int, hardware: Hardware) -> None:
        model, rows = built
        super().__init__(model=copy.deepcopy(model), args=arguments(steps, hardware), train_dataset=rows)
        self.remove_callback(PrinterCallback)
        self.before = copy.deepcopy(model).eval().to(self.args.device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        inputs = {name: value for name, value in self._prepare_inputs(inputs).items() if name != "image_key"}
        model.train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        loss = model(**inputs).loss
        task = torch.autograd.grad(loss, parameters, allow_unused=True)
        anatomy = find_vision_anatomy(model)
        layers = range(anatomy.num_layers - 1)
        with watch(
            {layer: anatomy.layers[layer] for layer in layers}, anatomy.image_mask(inputs["input_ids"])
        ) as seen:
            model(**inputs)
        now = seen.states(layers)
        with torch.no_grad(), self.accelerator.autocast():  # the Trainer wraps the model that it trains alone
            before = visual_hidden_states(self.before, inputs, layers, find_vision_anatomy(self.before))
        visual = torch.autograd.grad(drift_loss(now, before), parameters, allow_unused=True)
        for parameter, one, other in zip(parameters, task, visual, strict=True):
            if one is None or other is None:
                parameter.grad = one if other is None else other
                continue
            size = other.square().sum()
            parameter.grad = one - (one * other).sum() / size * other + other if size > 1e-30 else one
        return loss.detach()


def a_step(arm: Trainer, _repeat: int) -> dict[str, float]:
    with timed(arm.args.device) as spent:
        arm.train()
    return per(spent, arm.args.max_steps)


def memory(built: Built, arm: str, hardware: Hardware) -> dict[str, float]:
    """Greatest growth over what is used with the model loaded: of this process, or on the card."""
    made = trainer(built, arm, 2, hardware)
    before = hardware.resting_mb()
    made.train()
    return {"mb": hardware.peak_mb() - before}


def isolated(options: argparse.Namespace, hardware: Hardware, arm: str, _repeat: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--model", options.model, "--arm", arm, *(["--quick"] * options.quick)]
    told = subprocess.run([*command, *hardware.flags], capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def row(what: str, found: dict[str, list[dict[str, float]]], peer: str, own: str, key: str) -> dict[str, object]:
    theirs, ours = ([run[key] for run in found[arm]] for arm in (peer, own))
    return {
        "what": what,
        "peer": medians(found[peer], key),
        "ours": medians(found[own], key),
        "ratio": ratio(theirs, ours),
    }


if __name__ == "__main__":
    main()
