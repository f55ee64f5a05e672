"""Ordering's parts against what others offer for the same work; see each part.

    python benchmarks/ordering.py [--parts proofs audit training] [--repeats 5] [--quick]

proofs: formulas decided and every proof checked by the rule-applier, against Coq's ``tauto``, which decides the same
formulas in one process; needs Coq (the Debian package coq). Coq checks nothing there: ``tauto`` is stopped before its
term reaches the kernel; the clock and the message of each formula cost it a twentieth of its time. Its start, which
many formulas share, is left out in rows that say so. The last rows are of theorems alone, as the world draws them.

audit: steps of files read, measured and counted by ``armillary ordering audit``, against the goal of 50,000 steps a
second and core, in whose place the peer's time stands; and the memory that a file ten times as long takes, against
what the shorter one takes. Plain rows name their support; the other formats' edges are inferred from texts.

training: rows learned by batches of like length with the head at learned tokens alone, against transformers' Trainer
as it comes, which pads batches of any rows and makes logits at every token; the same model, rows and batch size. The
only part that takes ``--device`` and ``--dtype``; on a card its time is the wall clock's.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from measure import Hardware, add_hardware, hardware_of, interleaved, medians, ratio, refuse, show_and_save, timed

from armillary.errors import UsageError
from armillary.methods.ordering.audit.auditing import AuditPlan, audit_piece
from armillary.methods.ordering.audit.sources import opened_source
from armillary.methods.ordering.audit.tally import OrderTally
from armillary.methods.ordering.logic.config import LogicConfig
from armillary.methods.ordering.logic.coq import coq_version, tauto_decides
from armillary.methods.ordering.logic.counting import FormulaSpace
from armillary.methods.ordering.logic.formulas import Formula
from armillary.methods.ordering.logic.generator import theorems
from armillary.methods.ordering.logic.prover import prove
from armillary.methods.ordering.logic.rules import check

if TYPE_CHECKING:
    from transformers import Trainer

    from armillary.methods.ordering.training.rows import OrderedRows
    from armillary.models.loaded import LoadedModel

Rows = list[dict[str, object]]


def row(
    what: str, peer: Sequence[dict[str, float]], ours: Sequence[dict[str, float]], key: str, count: int
) -> dict[str, object]:
    """One row of the table: ``key`` of both sides, for one of ``count`` things."""
    return {
        "what": what,
        "peer": medians(peer, key) / count,
        "ours": medians(ours, key) / count,
        "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
    }


SIZES = (("abF", 3, 6), ("abcF", 9, 9), ("abcdeF", 16, 16))
"""Leaves, fewest and most connectives: the sizes that small models learn, middling ones, and PropL's smallest."""


def children_seconds() -> float:
    """Processor time of the processes that this one has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def coq_decides(formulas: Sequence[Formula]) -> dict[str, float]:
    """Processor seconds of Coq, with its start and without, which is that of a file with one formula."""
    before = children_seconds()
    tauto_decides(formulas[:1])
    start = children_seconds() - before
    answers = tauto_decides(formulas)
    whole = children_seconds() - before - start
    return {"whole": whole, "without start": whole - start, "provable": sum(answer is True for answer in answers)}


def arms_of(formulas: Sequence[Formula]) -> dict[str, Callable[[int], dict[str, float]]]:
    """Both sides on the same formulas, whatever the number of the repeat."""
    return {"tauto": lambda _: coq_decides(formulas), "ours": lambda _: we_decide(formulas)}


def we_decide(formulas: Sequence[Formula]) -> dict[str, float]:
    """Processor seconds for a decision of each, and a check of each proof."""
    provable = 0
    with timed("cpu") as spent:
        for formula in formulas:
            proof = prove(formula)
            if proof is not None:
                provable += check(formula, proof).ok
    return {"whole": spent["cpu"], "without start": spent["cpu"], "provable": provable}


def proofs(repeats: int, *, quick: bool) -> Rows:
    """Decisions and checks against ``tauto``, by size."""
    rows: Rows = []
    count = 50 if quick else 1000
    kinds: dict[str, list[Formula]] = {}
    for leaves, fewest, most in SIZES:
        draw, space = Random(f"{leaves} {most}"), FormulaSpace(leaves)
        size = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        kinds[f"a formula of {size} connectives over {leaves}"] = [
            space.drawn(draw.randint(fewest, most), draw) for _ in range(count)
        ]
    kinds["a theorem of the logic world"] = [
        theorem.formula for theorem in islice(theorems(LogicConfig(), seed=0), count)
    ]
    for what, formulas in kinds.items():
        runs = interleaved(arms_of(formulas), repeats)
        if runs["tauto"][0]["provable"] != runs["ours"][0]["provable"]:
            raise SystemExit("The two disagree on some formula.")
        what += f" decided, a proof checked, Coq {coq_version()}: time, s"
        rows.append(row(what, runs["tauto"], runs["ours"], "whole", len(formulas)))
        rows.append(row(f"{what}, without Coq's start", runs["tauto"], runs["ours"], "without start", len(formulas)))
    return rows


AUDIT_GOAL = 1 / 50_000
"""Seconds a step."""

STEPS = 10
"""Of a row: proofs and worked solutions have some such number."""

LONGER = 10
"""How much longer the file is on which memory is compared."""


def audited_rows(kind: str, count: int) -> Iterator[dict[str, object]]:
    """Rows of one format, with support on both sides."""
    draw = Random(kind)
    for number in range(count):
        places = draw.sample(range(STEPS), STEPS) if number % 4 == 0 else range(STEPS)
        if kind == "plain":
            deps = [[at for at in (place - 1, place - 3) if at >= 0] for place in range(STEPS)]
            where = {at: place for place, at in enumerate(places)}
            texts = [f"Step {at} of row {number} says so." for at in places]
            yield {"prompt": "Show it.", "steps": texts, "deps": [[where[dep] for dep in deps[at]] for at in places]}
            continue
        values = [1000 * number + 37 * at + 11 for at in range(STEPS + 1)]
        lines = [f"Then {values[at]} + 37 = <<{values[at]}+37={values[at + 1]}>>{values[at + 1]}." for at in places]
        if kind == "scratchpad":
            lines = [f"x_{at + 1} = x_{at} + 37 = {values[at + 1]}" for at in places]
        yield {"question": f"It begins with {values[0]}.", "answer": "\n".join(lines)}


def audit_seconds(path: Path, format: str) -> float:
    """Processor seconds for the whole file, its reader chosen by name."""
    with timed("cpu") as spent:
        source = opened_source(path, format)
        plan, tally = AuditPlan(reader=source.reader), OrderTally()
        for piece in source.pieces():
            tally.merge(audit_piece(piece, plan), plan.examples)
        assert tally.steps and tally.late
    return spent["cpu"]


def audit_peak(path: Path, format: str) -> float:
    """The most memory, MB, that a process of its own has while it audits the file."""
    here = Path(__file__)
    code = f"import {here.stem} as b, measure, pathlib as p; b.audit_seconds(p.Path({str(path)!r}), {format!r}); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(measure.peak_mb())"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": f"{here.parent}:{PATH}"},
    )  # fmt: skip
    return float(done.stdout)


PATH = os.environ.get("PYTHONPATH", "")


def audit(repeats: int, *, quick: bool) -> Rows:
    """Time a step by format, and memory by length."""
    rows: Rows = []
    count = 200 if quick else 10_000  # more than one piece of the file, so that a longer one has more of them
    with TemporaryDirectory() as folder:
        for kind in ("plain", "scratchpad", "calculator"):
            path = Path(folder) / f"{kind}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in audited_rows(kind, count)))
            runs = [{"time": audit_seconds(path, kind)} for _ in range(repeats)]
            goal = [{"time": AUDIT_GOAL * count * STEPS}] * repeats
            rows.append(
                row(f"audit of {kind} rows against its goal: time a step, s", goal, runs, "time", count * STEPS)
            )
        short, long = (Path(folder) / f"{name}.jsonl" for name in ("short", "long"))
        for path, times in ((short, 1), (long, LONGER)):
            path.write_text("".join(json.dumps(row) + "\n" for row in audited_rows("plain", count * times)))
        peaks = {path: [{"peak": audit_peak(path, "plain")} for _ in range(min(repeats, 2))] for path in (short, long)}
        what = f"audit of {LONGER} times as many rows, against as many: peak memory, MB"
        rows.append(row(what, peaks[short], peaks[long], "peak", 1))
    return rows


LENGTHS = (20, 400)
"""Tokens of samples with long steps, the fewest and the most; lengths are spread evenly in their logarithm."""


def training_rows(quick: bool, hardware: Hardware) -> dict[str, "tuple[OrderedRows, LoadedModel, int, int]"]:
    """Rows, a model, rows of a batch and steps: proofs of a hundred different tokens, and samples of 49,152."""
    import numpy as np
    from transformers import LlamaConfig, LlamaForCausalLM

    from armillary.methods.ordering.logic.world import LogicWorld
    from armillary.methods.ordering.training.config import DecoderShape
    from armillary.methods.ordering.training.rows import WorldTokens, joined_rows, world_rows
    from armillary.methods.ordering.training.start import small_decoder, world_tokenizer

    world = LogicWorld()
    known = WorldTokens.of(world)
    tokenizer = world_tokenizer(known)
    proofs = world_rows(world, world.problems(300 if quick else 3000, seed=0), "seq")
    small = small_decoder(tokenizer, DecoderShape(width=16 if quick else 64), seed=0, device=hardware.device)
    draw = np.random.default_rng(0)
    wide = 512 if quick else 49_152  # SmolLM2's
    sizes = np.exp(draw.uniform(math.log(LENGTHS[0]), math.log(LENGTHS[1]), size=100 if quick else 600)).astype(int)
    prompts = [draw.integers(2, wide, size // 2).tolist() for size in sizes]
    completions = [draw.integers(2, wide, size - size // 2).tolist() for size in sizes]
    parts = [[0] * len(completion) for completion in completions]
    samples = joined_rows(prompts, completions, parts, ["step"], wide)
    width = 32 if quick else 128
    config = LlamaConfig(
        vocab_size=wide, hidden_size=width, num_hidden_layers=4, num_attention_heads=4, intermediate_size=2 * width,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    large = hardware.load((LlamaForCausalLM(config), tokenizer), trained=True)
    return {
        "proofs, 100 tokens in the vocabulary": (proofs, small, 32, 2 if quick else 40),
        "samples of 20 to 400 tokens, 49,152 in the vocabulary": (samples, large, 4, 2 if quick else 10),
    }


def trained_by(
    trainer: "type[Trainer]", collate: Callable[..., object], _repeat: int, *, rows: "OrderedRows",
    model: "LoadedModel", batch: int, steps: int, hardware: Hardware,
) -> dict[str, float]:  # fmt: skip
    """Seconds for a thousand learned tokens: the tokens of a run differ, since batches do."""
    import tempfile

    from transformers import TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    from armillary.training.completions import RowData

    seen = [0]

    def counting(chosen: Sequence[Any]) -> object:
        seen[0] += sum(len(row.ids) - row.given for row in chosen)
        return collate(chosen)

    with tempfile.TemporaryDirectory() as folder:
        made: Any = trainer(
            model=model.model,
            args=TrainingArguments(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, save_strategy="no", seed=0,
                report_to="none", disable_tqdm=True, remove_unused_columns=False, learning_rate=1e-4,
                logging_strategy="no",
                **hardware.training,
            ),
            train_dataset=RowData(rows),
            data_collator=cast(Any, counting),
        )  # fmt: skip
        made.loaded, made.shortens = model, hardware.dtype == "bfloat16"  # ours alone reads these
        made.remove_callback(PrinterCallback)
        with timed(made.args.device) as spent:
            made.train()
        return {"seconds": spent[hardware.clock] / seen[0] * 1000}


def training(repeats: int, *, quick: bool, hardware: Hardware) -> Rows:
    """The same rows learned by the plain Trainer, padded and with logits at every token, and by ours."""
    import torch
    from transformers import Trainer

    from armillary.methods.ordering.training.learning import unmasked
    from armillary.training.completions import CompletionTrainer, collated

    torch.set_num_threads(1)
    rows: Rows = []
    for what, (learned, model, batch, steps) in training_rows(quick, hardware).items():
        longest = max(len(row.ids) for row in learned)

        def to_longest(chosen: Sequence[Any], longest: int = longest) -> object:
            inputs = collated(chosen)
            gap = longest - inputs["input_ids"].shape[1]
            fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
            return {name: torch.nn.functional.pad(value, (0, gap), value=fill[name]) for name, value in inputs.items()}

        peers: dict[str, Callable[..., object]] = {
            "padded to the longest row of a batch": collated,
            "padded to the longest row of all": to_longest,
        }

        given = {"rows": learned, "model": model, "batch": batch, "steps": steps, "hardware": hardware}
        arms = {name: partial(trained_by, Trainer, collate, **given) for name, collate in peers.items()}
        arms["ours"] = partial(trained_by, CompletionTrainer, unmasked, **given)
        runs = interleaved(arms, repeats)
        for name in peers:
            kind = "processor time" if hardware.clock == "cpu" else "time"
            about = f"{what}, against a Trainer {name}: {kind} of 1,000 learned tokens, s"
            rows.append(row(about, runs[name], runs["ours"], "seconds", 1))
    return rows


PARTS: dict[str, Callable[..., Rows]] = {"proofs": proofs, "audit": audit}
"""Those without a model; the part "training" has one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "training"], default=None, help="by default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="little work, one repeat: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    repeats = 1 if options.quick else options.repeats
    parts = options.parts or [*(PARTS if hardware.plain else ()), "training"]
    if not hardware.plain and parts != ["training"]:
        refuse("Proofs and audits run no model, so only --parts training takes a device and a number format.")
    for part in parts:
        where = hardware if part == "training" else None
        try:
            measured = PARTS.get(part) or partial(training, hardware=hardware)
            rows = measured(repeats, quick=options.quick)
        except UsageError as missing:  # a program or package that only this part needs
            print(f"{part} is left out: {missing}")
            continue
        settings, title = {"repeats": repeats}, f"Ordering: {part}"
        show_and_save(f"ordering-{part}", title, "no model", settings, rows, hardware=where, quick=options.quick)


if __name__ == "__main__":
    main()
