"""Tables of the diff's page in the docs about its cost: how it grows, and what 7 billion parameters take."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.diff_docs import recorded

from armillary.diff.asking import BATCH
from armillary.diff.config import DiffConfig
from armillary.diff.plan import GPU, Sizes, plan
from armillary.diff.prompts import packaged_prompts, packaged_texts, prompt_of, questions_of, text_tokens
from armillary.diff.where.restoring import RESTORING
from armillary.records.sections import Table
from armillary.report.wording import number
from reproductions.diff_calibration.making import asked
from reproductions.diff_calibration.scale import SCALES, Scale

GROWTH = "growth.json"
SPARSE = ("bricks_sparse.json", "one token, s, bfloat16, 2 threads: dense over the kernel with nothing left out")
"""The benchmark, and in it the row, that tells how long both cores take to read all weights once."""

SIZES = {
    "prompts": "prompts", "answer_tokens": "tokens of an answer", "texts": "texts", "text_tokens": "tokens of a text",
    "layers": "layers", "vocabulary": "vocabulary", "hidden": "width",
}  # fmt: skip
"""Columns, by the size that the benchmark varies."""

LEAST = {"seconds": 0.02, "memory": 16.0}
"""Seconds and MB at the largest size below which an exponent would be the clock's and the allocator's, which takes
memory in steps of some MB."""

LINEAR, WIDTH = 1.1, 2.1
"""Exponents from which on a cost is above linear, and for the width above the number of parameters, which grow with
its square: what lies below is caches and batches that fill. The estimate counts and not the interval's lower end, so
that no noise excuses a slope."""

REASONS: dict[tuple[str, str], str] = {
    (
        "restoring",
        "layers",
    ): "each layer is put back in turn and all that follow it are run, half of the layers' square "
    "in the limit; those before it are not run again. Fewer passes would be an approximation of what is asked.",
    ("identity", "vocabulary"): "every token's name is looked up once, in dictionaries that outgrow the processor's "
    "caches, and the names of the benchmark's later tokens are longer.",
}
"""Why a phase or instrument grows faster than a size, by the two."""


def slopes_part(results: Path) -> str:
    """A row for each phase and instrument: the exponents of its processor time, then those of its peak memory."""
    path = results / GROWTH
    if not path.exists():
        return "Not measured yet."
    record = json.loads(path.read_text("utf-8"))
    parts = []
    for kind, title in (("seconds", "Processor time"), ("memory", "Rise of the peak memory")):
        cells = {(row["row"], row["size"]): row for row in record["slopes"] if row["cost"] == kind}
        names = list(dict.fromkeys(name for name, _ in cells))
        rows = [[name, *(exponent(cells[name, size]) for size in SIZES)] for name in names]
        parts.append(f"{title}:\n\n{_table(['phase or instrument', *SIZES.values()], rows)}")
    ranges = {row["size"]: row["sizes"] for row in record["slopes"]}
    told = "; ".join(f"{SIZES[size]} {number(values[-2])} to {number(values[-1])}" for size, values in ranges.items())
    parts.append(
        f"Exponent between the two upper sizes ({told}) with its 95 % interval over {record['settings']['repeats']} "
        f"repeats; empty where the largest cost is below {LEAST['seconds']} s or {LEAST['memory']:.0f} MB. Bold: "
        "above linear (for the width, above the square with which the parameters grow)."
    )
    steep = [row for row in record["slopes"] if above(row)]
    lines = [f"- **{name}, {SIZES[size]}**: {reason(name, size)}" for name, size in _once(steep)]
    return "\n\n".join([*parts, "\n".join(lines)] if lines else parts)


def _once(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["row"], row["size"]) for row in rows))


def reason(name: str, size: str) -> str:
    """Why this grows faster than that."""
    return REASONS.get((name, size), "not explained.")


def exponent(row: Mapping[str, Any]) -> str:
    """ "1.02 ± 0.05", bold where it is above linear."""
    if row["medians"][-1] < LEAST[row["cost"]]:
        return ""
    value = row["exponent"]
    text = f"{value['estimate']:.2f} ± {(value['high'] - value['low']) / 2:.2f}".replace("-", "\N{MINUS SIGN}")
    return f"**{text}**" if above(row) else text


def above(row: Mapping[str, Any]) -> bool:
    """Whether a cost that can be told grows faster than the size."""
    limit = WIDTH if row["size"] == "hidden" else LINEAR
    return bool(row["medians"][-1] >= LEAST[row["cost"]] and row["exponent"]["estimate"] > limit)


# A model of 7 billion parameters, from what SmolLM2 took.

LAYERS, HIDDEN, INNER, VOCABULARY = 32, 4096, 11_008, 32_000
"""Of Llama 2 7B (arXiv 2307.09288) and its configuration."""

PARAMETERS = 2 * VOCABULARY * HIDDEN + LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN) + HIDDEN

BYTES = 2
"""Of a number in bfloat16."""

GPU_BYTES = 1e12
"""Bytes a second that the nominal card reads from its memory: about what one of 24 GB for a desk is sold with."""

RESTORED = "restoring alone, s"

COUNTED = ("flips", "drift", "attributes", "texts", "kept")
"""Instruments that count what the phases left, and never meet the model."""


@dataclass(frozen=True)
class Machine:
    """How fast the phases run, and what they are given there."""

    sizes: Sizes
    operations: float
    """A second, of reading and writing."""

    restoring: float
    """The same of putting blocks back, whose rows are few."""

    bandwidth: float
    """Bytes of weights a second."""

    def phase(self, name: str) -> float:
        """Seconds of a phase: its operations, or for answers the weights read at every token, whichever is more."""
        reads = self.sizes.answer_tokens * math.ceil(self.sizes.prompts / BATCH) * BYTES * PARAMETERS / self.bandwidth
        return sum(
            max(2 * PARAMETERS * tokens / self.operations, reads if "answers" in piece else 0.0)
            for piece, tokens in _tokens(self.sizes, name).items()
        )

    def put_back(self) -> float:
        """Seconds of ``restoring``."""
        return 2 * PARAMETERS * RESTORING.cost(self.sizes) / self.sizes.seconds_per_token / self.restoring


def seven_part(root: Path) -> str:
    """A row for each phase and instrument: seconds on two cores and on the nominal card, and the memory."""
    record, benchmarks = recorded(root / "results"), root / "benchmarks" / "results"
    if record is None or not all((benchmarks / name).exists() for name in (SPARSE[0], GROWTH)):
        return "Not recorded yet."
    (pages,) = (one for section in record.sections for one in section.tables if one.title == "What each page cost")
    seconds, facts = _medians(pages), record.models["model"]
    small = _planned(facts["parameters"], facts["layers"], SCALES["laptop"])
    once = 2 * facts["parameters"] / seconds["after, s"] * sum(_tokens(small, "after").values())
    restored = 2 * facts["parameters"] * RESTORING.cost(small) / small.seconds_per_token / seconds[RESTORED]
    rows = json.loads((benchmarks / SPARSE[0]).read_text("utf-8"))["rows"]
    bandwidth = BYTES * facts["parameters"] / next(row["peer"] for row in rows if row["what"] == SPARSE[1])
    cores = Machine(_planned(PARAMETERS, LAYERS), 2 * once, 2 * restored, bandwidth)
    card = Machine(_planned(PARAMETERS, LAYERS, on_gpu=True), GPU, GPU, GPU_BYTES)
    files = seconds["identity alone, s"] * PARAMETERS / facts["parameters"]
    weights = BYTES * PARAMETERS / 2**30
    told: list[tuple[str, float, float, float | None, str]] = [
        *(
            (f"phase of {name}", cores.phase(name), card.phase(name), weights, "estimated")
            for name in ("base", "after")
        ),
        ("`identity`, `weights`", files, files, _matrices(benchmarks / GROWTH), "estimated"),
        ("`restoring`", cores.put_back(), card.put_back(), weights * (1 + 1 / LAYERS), "estimated"),
    ]
    for name in COUNTED:
        took = seconds[f"{name} alone, s"]
        told.append((f"`{name}`", took, took, None, "measured, on SmolLM2"))
    cells = [[what, *map(number, took), "" if gib is None else number(gib), how] for what, *took, gib, how in told]
    return "\n\n".join(
        [
            _table(["what", "two cores, s", "nominal GPU, s", "memory, GiB", "seconds are"], cells),
            f"{PARAMETERS / 1e9:.2f} billion parameters in bfloat16 (Llama 2 7B) at the default budget: on the cores "
            f"{_given(cores.sizes)}, the least that any budget asks; on the card {_given(card.sizes)}. "
            "`restoring` is told whether it fits into a budget or not.",
            f"Measured on SmolLM2, one core, pages of the calibration: after's phase {number(seconds['after, s'])} s, "
            f"which is {number(once / 1e9)} billion operations a second at 2 * parameters a token; `restoring`, where "
            f"all blocks differ, {number(seconds[RESTORED])} s, {number(restored / 1e9)} billion a second; `identity` "
            f"with the reading of both models' files {number(seconds['identity alone, s'])} s. Both cores read "
            f"{number(bandwidth / 1e9)} GB of weights a second ([benchmarks](benchmarks.md)).",
            "Estimated from these: a phase takes 2 * parameters * tokens / operations a second, on two cores twice "
            "one's, and in bfloat16 as many as in SmolLM2's float32; answers take at least tokens * bytes of the "
            "weights / bytes a second, since all weights are read for every token of a batch; files take as long for "
            "a parameter as SmolLM2's, beside a card too, as they are compared on the processor. What only counts is "
            "as measured, for it never meets the model.",
            f"The card is nominal, and nothing was measured on one: {number(GPU / 1e12)} * 10^12 operations a second, "
            f"as the plan counts them, and {number(GPU_BYTES / 1e12)} * 10^12 bytes. Memory: the weights of the one "
            "model that is open, for `restoring` a layer more; for the files copies of the largest matrix in float32, "
            "as many as were measured. Files that are compared count as memory besides while they are read; the "
            "system takes that back when it needs it.",
        ]
    )


def _given(sizes: Sizes) -> str:
    return (
        f"{sizes.prompts} prompts, {sizes.answer_tokens} tokens an answer, {sizes.texts} texts and {sizes.questions} "
        "questions"
    )


def _planned(parameters: int, layers: int, scale: Scale | None = None, *, on_gpu: bool = False) -> Sizes:
    """What a diff of the packaged prompts is given, or a page of the calibration."""
    prompts, texts = packaged_prompts(), packaged_texts()
    config = DiffConfig(base="base", after="after")
    if scale is not None:
        prompts = [prompt_of(json.loads(line), line, str(at)) for at, line in enumerate(asked(scale).splitlines())]
        config = replace(config, budget=scale.budget, most_prompts=scale.prompts, most_texts=scale.texts)
        config = replace(config, answer_tokens=scale.answer_tokens)
    return plan(
        config, parameters=parameters, layers=layers, prompts=len(prompts), texts=len(texts),
        text_tokens=text_tokens(texts), questions=len(questions_of(prompts)), on_gpu=on_gpu,
    )  # fmt: skip


def _tokens(sizes: Sizes, phase: str) -> dict[str, float]:
    """Tokens that each piece of a phase reads, as the plan counts them: one that is drawn is as several read."""
    return {
        piece: seconds / sizes.seconds_per_token
        for piece, seconds in sizes.pieces.items()
        if phase in piece.split() and not piece.startswith("base reads")
    }


def _medians(pages: Table) -> dict[str, float]:
    """The median of each column of costs over the calibration's pages; of ``restoring`` the most, as on many pages
    only some of the blocks differed and were put back."""
    columns = {
        name: [float(cell) for row in pages.rows if isinstance(cell := row[at], float)]
        for at, name in enumerate(pages.columns)
    }
    medians = {name: statistics.median(values) for name, values in columns.items() if values}
    return medians | {RESTORED: max(columns[RESTORED])}


def _matrices(path: Path) -> float:
    """GiB that the comparison of the files rises to beside the files themselves: copies of the largest matrix in
    float32, as many as were measured at the largest width."""
    record = json.loads(path.read_text("utf-8"))
    (row,) = (
        one for one in record["slopes"] if (one["row"], one["size"], one["cost"]) == ("weights", "hidden", "memory")
    )
    width, others = row["sizes"][-1], record["settings"]["others"]["hidden"]
    # Of the benchmark's models: two heads of four have keys, and the FFN is three times as wide.
    numbers = 2 * others["vocabulary"] * width + others["layers"] * (3 + 3 * 3) * width**2
    files, largest = (4 * count / 2**20 for count in (2 * numbers, max(others["vocabulary"], 3 * width) * width))
    return float((row["medians"][-1] - files) / largest * 4 * VOCABULARY * HIDDEN / 2**30)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
