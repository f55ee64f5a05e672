"""How the cost of each phase and instrument of ``armillary diff`` grows with what it is given.

    python benchmarks/growth.py [--quick]

Random models of a real architecture (Llama) differ in one size at a time: prompts, tokens of an answer, texts, tokens
of a text, layers, vocabulary, width. A word is a token and no token ends an answer, so that there is exactly as much
to do as the sizes say; the head is as wide as gives predictions about as sharp as a language model's, since the bound
of a divergence sorts as much of the vocabulary as its tail is flat. Measured are the processor time of a process of
one thread, which stands beside others, and by how much the peak memory rises, each taken at the names under which
the run keeps its parts; what runs inside a part under another name counts there alone.

The exponent is that between the two upper sizes of each repeat, which are a factor of 4 apart; the lower pair's stands
beside it in the record, so that a constant cost can't hide a steeper one: the exponent would still rise. Floor: 1 for
what each thing has to be looked at for, 2 for the width (parameters grow with its square), 2 for the layers of
``restoring`` (each is put back, and all that follow it are run), 0 for what a size has nothing to do with.

The lowest size is run once, the upper two five times, in rounds over all; the record is written after each round.
There is no ``--device``: how costs grow is asked, not how large they are, and a card's would be hidden behind the
processor's at these sizes.
"""

import argparse
import ctypes
import gc
import json
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

from measure import Hardware, current_mb, peak_mb, save, timed

from armillary.diff.config import DiffConfig
from armillary.diff.pair import origin_of
from armillary.numerics.intervals import across_seeds
from armillary.runs.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from armillary.models import LoadedModel
    from armillary.runs.parts import Arrays

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Sizes:
    """What one diff is given. The prompts are questions with two choices as well."""

    prompts: int = 8
    answer_tokens: int = 4
    texts: int = 8
    text_tokens: int = 16
    layers: int = 2
    vocabulary: int = 1024
    hidden: int = 64


SOME = Sizes(prompts=8, answer_tokens=8, texts=16, text_tokens=64)
"""Of everything so much that each phase and instrument has something to do."""

Axes = dict[str, tuple[Sizes, tuple[int, ...]]]

AXES: Axes = {
    "prompts": (Sizes(answer_tokens=2, vocabulary=512, hidden=32), (64, 256, 1024)),
    "answer_tokens": (Sizes(prompts=16, hidden=64), (8, 32, 128)),
    "texts": (Sizes(text_tokens=64), (32, 128, 512)),
    "text_tokens": (Sizes(texts=64), (32, 128, 512)),
    "layers": (SOME, (2, 6, 24)),
    "vocabulary": (SOME, (4096, 16384, 65536)),
    "hidden": (replace(SOME, layers=4), (32, 128, 512)),
}
"""By the size that varies, the others, and its own: the largest is such that what grows with it takes 0.3 s of a core
or more, but for the instruments that only count what is there."""

ROWS = {
    "texts read": ("texts of base", "texts of after", "texts of base a second time"),
    "prompts answered": ("base answers", "base answers a second time", "after answers"),
    "answers read": ("base reads the answers of after",),
    "questions scored": ("questions to base", "questions to after"),
    "tokens": ("material of base", "material of after", "vocabulary of base", "vocabulary of after"),
    "opening": ("opening",),
    "identity": ("result of identity",),
    "flips": ("result of flips",),
    "drift": ("result of drift",),
    "attributes": ("result of attributes",),
    "texts": ("result of texts",),
    "kept": ("result of kept",),
    "weights": ("result of weights", "weights of the files"),
    "restoring": ("result of restoring",),
    "page": ("page",),
}
"""Rows of the table, and the names of the parts that each holds: phases first, then instruments."""

QUICK = {
    "prompts": (4, 8, 16), "answer_tokens": (2, 4, 8), "texts": (8, 16, 32), "text_tokens": (8, 16, 32),
    "layers": (2, 3, 4), "vocabulary": (256, 512, 1024), "hidden": (16, 32, 64),
}  # fmt: skip
"""Sizes that only show that it runs."""

REPEATS = 5

SHARPNESS = 4.0
"""Standard deviation of a logit: of 50,000 independent normal ones it leaves 2.8 nats of surprise
(log V - s^2 / 2), as language models have on plain text."""

NOISE = 0.1
"""Of each matrix's spread, added to make after: enough for every tensor to have moved and for blocks to be restored.
"""


class Meter:
    """Processor seconds and rise of the peak memory (MB) by name, without what is measured inside under another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self._open: list[_Open] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the block under this name."""
        outer = self._open[-1] if self._open else None
        if outer is not None:
            outer.peak = max(outer.peak, peak_mb() - outer.level)
        here = _Open(level=_new_peak())
        at_entry = here.level
        self._open.append(here)
        with timed("cpu") as spent:
            yield
        here.peak = max(here.peak, peak_mb() - here.level)
        self._open.pop()
        self.seconds[name] = self.seconds.get(name, 0.0) + spent["cpu"] - here.inner
        self.memory[name] = max(self.memory.get(name, 0.0), here.peak)
        if outer is not None:
            outer.level += _new_peak() - at_entry  # what stays, such as a model, is not the outer one's
            outer.inner += spent["cpu"]


@dataclass
class _Open:
    """A block that is being measured."""

    level: float
    """MB that were there before it, and what others left there since."""

    peak: float = 0.0
    """MB above that."""

    inner: float = 0.0
    """Seconds that count under another name."""


def _new_peak() -> float:
    """Memory of now (MB), from which the peak is counted anew; what was let go of is given back first."""
    if sys.platform != "linux":
        sys.exit("The peak memory of a part can be read on Linux alone.")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return current_mb()


class MeteredParts(Parts):
    """Parts of a run whose making is measured."""

    def __init__(self, folder: Path, meter: Meter) -> None:
        super().__init__(folder, "growth")
        self._meter = meter

    def json(self, name: str, compute: "Callable[[], object]") -> object:
        with self._meter.of(name):
            return super().json(name, compute)

    def decoded(self, kind: type[Kind], name: str, compute: "Callable[[], Kind]") -> Kind:
        with self._meter.of(name):
            return super().decoded(kind, name, compute)

    def mapped(self, name: str, compute: "Callable[[], Arrays]") -> "Arrays":
        with self._meter.of(name):
            return super().mapped(name, compute)


def measured(config: DiffConfig, folder: Path) -> Meter:
    """The costs by part of a whole diff, from the files to the page."""
    from armillary.diff import pair, run
    from armillary.models import load as unmetered

    meter, free = Meter(), pair.Pair.free

    def opened(name: str, **settings: Any) -> "LoadedModel":
        with meter.of("opening"):
            return unmetered(name, **settings)

    def freed(both: pair.Pair) -> None:
        with meter.of("opening"):
            free(both)

    gc.collect()
    origins = {role: origin_of(name, config) for role, name in config.models().items()}
    with mock.patch.object(pair, "load", opened), mock.patch.object(pair.Pair, "free", freed):
        measuring = run.measured(config, origins, MeteredParts(folder, meter))
        with meter.of("page"):
            run.told(measuring)
    evidence = measuring.evidence
    if missing := {one.name for one in run.INSTRUMENTS} - measuring.results.keys():
        sys.exit(f"Not measured: {', '.join(sorted(missing))}.")
    if problem := measuring.results["restoring"].problem:
        sys.exit(f"No block was put back: {problem}.")
    if any(any(replies.ended) for replies in evidence.replies.values()):
        sys.exit("An answer ended by itself, so that there was less to do than the sizes say.")
    return meter


# What is given: models, prompts and texts of exact sizes.


def models(sizes: Sizes, folder: Path) -> tuple[Path, Path]:
    """A random model and one that differs from it in every tensor, in folders that are made once."""
    import torch
    from tokenizers import Tokenizer, models as kinds, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    place = folder / f"{sizes.layers}-{sizes.vocabulary}-{sizes.hidden}"
    both = place / "base", place / "after"
    if place.exists():
        return both
    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=sizes.vocabulary, hidden_size=sizes.hidden, intermediate_size=3 * sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        bos_token_id=None, eos_token_id=None, pad_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(settings)
    words = Tokenizer(kinds.WordLevel({_word(index): index for index in range(sizes.vocabulary)}, unk_token=_word(0)))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, SHARPNESS / math.sqrt(sizes.hidden))
        for path in both:
            model.save_pretrained(path)
            tokenizer.save_pretrained(path)
            for parameter in model.parameters():
                # A norm's weights are all 1 and have no spread.
                spread = float(parameter.std()) or 1.0
                parameter.add_(NOISE * spread * torch.randn_like(parameter))
    return both


def _word(index: int) -> str:
    return f"w{index}"


SHARED = 8
"""Words that all prompts begin with, as they do in a template."""

PROMPT_WORDS, GROUPS = 24, 4
"""Words of a prompt; groups of texts and tags of prompts."""


def asked(sizes: Sizes, models_of: tuple[Path, Path], folder: Path) -> DiffConfig:
    """The settings of a diff of these sizes, with its prompts and texts in files."""
    draws = random.Random(0)
    known = [_word(index) for index in range(sizes.vocabulary)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prompts.jsonl").open("w") as file:
        for index in range(sizes.prompts):
            text = " ".join([*known[:SHARED], *draws.choices(known, k=PROMPT_WORDS - SHARED)])
            right, wrong = draws.sample(known, 2)
            row = {"prompt": text, "answer": right, "choices": [right, wrong], "tag": f"kind {index % GROUPS}"}
            file.write(json.dumps(row) + "\n")
    names = []
    for group in range(GROUPS):
        count = len(range(group, sizes.texts, GROUPS))
        paragraphs = [" ".join(draws.choices(known, k=sizes.text_tokens)) for _ in range(count)]
        (folder / f"{group}.txt").write_text("\n\n".join(paragraphs))
        names.append(f"group {group}={folder / f'{group}.txt'}")
    return DiffConfig(
        base=str(models_of[0]), after=str(models_of[1]), prompts=str(folder / "prompts.jsonl"), texts=tuple(names),
        budget="10m", most_prompts=sizes.prompts, answer_tokens=sizes.answer_tokens, most_texts=sizes.texts,
        device=Hardware().device,
    )  # fmt: skip


# What came out.

Runs = dict[int, list[dict[str, dict[str, float]]]]
"""By size, for each repeat the seconds and the memory of each row."""


def rows_of(meter: Meter) -> dict[str, dict[str, float]]:
    """Seconds and MB of each row of the table."""
    seconds = {row: sum(meter.seconds.get(part, 0.0) for part in parts) for row, parts in ROWS.items()}
    memory = {row: max(meter.memory.get(part, 0.0) for part in parts) for row, parts in ROWS.items()}
    return {"seconds": seconds, "memory": memory}


LEAST = {"seconds": 0.02, "memory": 8.0}
"""Seconds and MB at the largest size below which no exponent is told: it would be the clock's and the allocator's."""


def slopes(axis: str, runs: Runs) -> list[dict[str, object]]:
    """For each row and kind of cost its exponents and what it was at each size."""
    sizes = sorted(runs)
    found: list[dict[str, object]] = []
    for kind in ("seconds", "memory"):
        for row in ROWS:
            # A part that needs nothing at the smaller size can still grow: it counts as a hundredth of what is told.
            at = {size: [max(run[kind][row], LEAST[kind] / 100) for run in runs[size]] for size in sizes}
            each = [_exponent(sizes[-2:], pair) for pair in zip(*(at[size] for size in sizes[-2:]), strict=True)]
            value = across_seeds(each)
            found.append(
                {
                    "size": axis,
                    "row": row,
                    "cost": kind,
                    "sizes": sizes,
                    "medians": [statistics.median(values) for values in at.values()],
                    "exponent": {"estimate": value.estimate, "low": value.lower, "high": value.upper},
                    "exponent below": _exponent(sizes[:2], [statistics.median(at[size]) for size in sizes[:2]]),
                }
            )
    return found


def _exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Between two sizes, of a power that goes through both costs."""
    return math.log(costs[1] / costs[0]) / math.log(sizes[1] / sizes[0])


def grown(axes: Axes, repeats: int, folder: Path) -> Iterator[list[dict[str, object]]]:
    """The slopes of every axis after each round over all sizes, so that a slow minute is not one size's alone."""
    points = [
        (axis, size, replace(others, **{axis: size})) for axis, (others, sizes) in axes.items() for size in sizes
    ]
    runs: dict[str, Runs] = {axis: {size: [] for size in sizes} for axis, (_, sizes) in axes.items()}
    # The first diff of a process fills caches and pools, and is thrown away.
    for repeat in range(-1, repeats):
        for axis, size, sizes in points[:1] if repeat < 0 else points:
            if repeat > 0 and size == min(axes[axis][1]):
                continue
            config = asked(sizes, models(sizes, folder / "models"), folder / f"{axis}-{size}")
            with TemporaryDirectory(dir=folder) as parts:
                meter = measured(config, Path(parts))
            if repeat >= 0:
                runs[axis][size].append(rows_of(meter))
            print(f"round {repeat}, {axis} {size}: {sum(meter.seconds.values()):.1f} s", file=sys.stderr)
        if repeat >= 0:
            yield [row for axis in axes for row in slopes(axis, runs[axis])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it runs")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    quick: Axes = {axis: (Sizes(), sizes) for axis, sizes in QUICK.items()}
    axes = quick if options.quick else AXES
    settings = {"repeats": 0, "others": {axis: asdict(others) for axis, (others, _) in axes.items()}}
    with TemporaryDirectory() as folder:
        for repeats, rows in enumerate(grown(axes, 1 if options.quick else REPEATS, Path(folder)), 1):
            save("growth", "random Llama", {**settings, "repeats": repeats}, quick=options.quick, slopes=rows)


if __name__ == "__main__":
    main()
