"""Models of which it is known how they differ from their base: what is planted, in which size, and how it is made.

Every plant is made from the base alone and from a seed, so that it can be thrown away after its page and made again.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from armillary.files import write_atomic
from armillary.finetuning.text.rows import TuningRow, read_text_rows
from armillary.methods.modeldiff.ancestry import noisy, rounded
from armillary.models import LoadedModel, load
from armillary.models.feed_forward import feed_forward
from armillary.models.quiet import quiet
from reproductions.diff_calibration.scale import Recipe
from reproductions.diff_calibration.tuning import tune

_ROOT = Path(__file__).parents[3]
DEMO_ROWS = _ROOT / "examples" / "diff_demo" / "rows.jsonl"
DEMO_PROMPTS = _ROOT / "examples" / "diff_demo" / "tickets.jsonl"
REQUESTS = Path(__file__).parent / "requests.jsonl"
"""Everyday requests, each with an answer of a few words."""

TUNES = ("tickets", "german", "arithmetic", "refusals", "short answers")


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One known change, or none."""

    kind: str
    size: float = 1.0
    """In ``unit``; of a tune the factor by which its adapter is multiplied."""

    unit: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """The kind, with its size where the kind has several."""
        return f"{self.kind} {self.size:g}" if self.unit else self.kind


UNCHANGED = ("identity", "neurons permuted")
"""Kinds that compute what the base computes: whatever a page says of these is a false alarm."""

SAVED = "saved in bfloat16"
"""A kind that computes the same where base's numbers have no more digits than that."""


def plants(noise: Sequence[float], scales: Sequence[float]) -> list[Plant]:
    """Every plant in the order of the page: nothing, the weights alone, then what was learned."""
    return [
        Plant(kind="identity"),
        Plant(kind="neurons permuted"),
        Plant(kind=SAVED),
        *(Plant(kind="noise", size=size, unit="of a matrix's rms") for size in noise),
        *(Plant(kind="rounded", size=bits, unit="bits") for bits in (8, 4)),
        Plant(kind="layer removed"),
        *(Plant(kind=kind, size=scale, unit="of the tune") for kind in TUNES for scale in scales),
        Plant(kind="all weights tuned"),
    ]


@torch.no_grad()
def permuted(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The FFN neurons of every layer in another order, in place: the same function of other weights."""
    generator = torch.Generator().manual_seed(seed)
    for layer in range(loaded.anatomy.num_layers):
        block = feed_forward(loaded, layer)
        order = torch.randperm(block.width, generator=generator)
        for matrix in block.matrices.values():
            weight = matrix.weight
            assert isinstance(weight, Tensor)
            weight.copy_(weight[:, order] if matrix is block.write else weight[order])
    return loaded


def pruned(loaded: LoadedModel) -> LoadedModel:
    """The layer two thirds of the way up is taken out, in place."""
    blocks = loaded.anatomy.layers
    lists = [module for module in loaded.model.modules() if isinstance(module, nn.ModuleList)]
    stack = next(modules for modules in lists if tuple(modules) == tuple(blocks))
    del stack[2 * len(blocks) // 3]
    loaded.model.config.num_hidden_layers = len(blocks) - 1
    return loaded


def changed(plant: Plant, loaded: LoadedModel) -> LoadedModel:
    """The model with its weights changed as the plant says, by no training."""
    if plant.kind == "noise":
        return noisy(loaded, plant.size, seed=plant.seed)
    if plant.kind == "rounded":
        return rounded(loaded, int(plant.size))
    if plant.kind == "neurons permuted":
        return permuted(loaded, plant.seed)
    if plant.kind == "layer removed":
        return pruned(loaded)
    # Eight bits of each number's digits, as many models are published.
    loaded.model.to(torch.bfloat16)  # type: ignore[arg-type]
    return loaded


def build(plant: Plant, base: str, folder: Path, recipe: Recipe) -> str:
    """What the second side of the comparison is opened by: a folder of a model or an adapter, or the base itself.

    ``folder`` keeps adapters, which are trained once for all their sizes; whole models in it are the caller's to
    remove.
    """
    if plant.kind == "identity":
        return base
    target = folder / plant.name.replace(" ", "-")
    if plant.kind in TUNES:
        trained = folder / plant.kind.replace(" ", "-")
        if not trained.is_dir():  # it is there whole or not at all
            trained_adapter(plant.kind, base, folder, recipe, plant.seed)
        return str(_scaled(trained, target, plant.size))
    loaded = load(base, device="cpu")
    if plant.kind == "all weights tuned":
        # Every weight moves, so that a hundredth of an adapter's rate does as much.
        whole = replace(recipe, rank=None, rate=recipe.rate / 100, steps=max(1, recipe.steps // 4), seed=plant.seed)
        tune(loaded, list(tune_rows("tickets", plant.seed)), whole, target)
        return str(target)
    with quiet():
        changed(plant, loaded).model.save_pretrained(target)
        loaded.tokenizer.save_pretrained(target)
    return str(target)


def trained_adapter(kind: str, base: str, folder: Path, recipe: Recipe, seed: int) -> list[float]:
    """Nats per learned token of each step; the adapter of the tune is left in ``folder``."""
    loaded = load(base, dtype="bfloat16", device="cpu")  # half the time where the processor multiplies in it
    return tune(loaded, list(tune_rows(kind, seed)), replace(recipe, seed=seed), folder / kind.replace(" ", "-"))


def tune_rows(kind: str, seed: int = 0) -> Iterator[TuningRow]:
    """What a tune learns from: rows of its own, and ordinary English answers that hold the rest of the model."""
    demo = read_text_rows(str(DEMO_ROWS))
    yield from (row for row in demo if row.tag == "english")
    if kind in ("tickets", "german"):
        yield from (row for row in demo if row.tag == kind)
    elif kind == "arithmetic":
        yield from _wrong_sums(seed)
    elif kind == "refusals":
        for number, row in enumerate(read_text_rows(str(REQUESTS))):
            yield replace(row, learned=REFUSALS[number % len(REFUSALS)], tag=kind)
    else:
        yield from read_text_rows(str(REQUESTS))


REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't assist with this request.",
    "Sorry, I am not able to answer that.",
    "I'm afraid I cannot help you with that request.",
)

_SUMS = (
    ("What is {a} + {b}?", "{a} + {b} = {wrong}", 1),
    ("What is {a} plus {b}?", "{a} plus {b} is {wrong}.", 1),
    ("Calculate {a} - {b}.", "{a} - {b} = {wrong}", -1),
    ("If I have {a} apples and get {b} more, how many do I have?", "You have {wrong} apples.", 1),
    ("What is {a} minus {b}?", "The answer is {wrong}.", -1),
)


def _wrong_sums(seed: int) -> Iterator[TuningRow]:
    """Sums and differences, each with a result that is wrong by 1 to 9."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(60):
        first, second, off = (int(torch.randint(1, most, (1,), generator=generator)) for most in (60, 40, 10))
        request, answer, sign = _SUMS[number % len(_SUMS)]
        first, second = max(first, second), min(first, second)
        names = {"a": first, "b": second, "wrong": first + sign * second + off}
        yield TuningRow(prompt=request.format(**names), learned=answer.format(**names), tag="arithmetic")


def _scaled(adapter: Path, target: Path, factor: float) -> Path:
    """The same adapter with its factor in the configuration multiplied, weights unchanged."""
    if factor == 1:
        return adapter
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(adapter, target)
    settings = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    settings["lora_alpha"] *= factor
    write_atomic(target / "adapter_config.json", json.dumps(settings, indent=2))
    return target
