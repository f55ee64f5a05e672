"""NLL of texts by chunks of the head against cross-entropy of the full logits: time and peak memory.

    python benchmarks/nll.py [--model smollm2-135m-instruct] [--quick]

Both arms score the same texts in the same batches, each repeat in a fresh process, so that its peak memory is its own.
Memory is what the peak rises above the loaded model's; "in all" includes the model.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from measure import Hardware, add_hardware, hardware_of, interleaved, medians, ratio, show_and_save, timed

ALIKE = {"float32": 1e-5, "bfloat16": 1e-3}
"""Nats a token by which the arms may differ. With 8 bits a logit of 20 is off by 0.06 at most, either way, and the
mean of thousands of tokens by far less; on the processor SmolLM2's arms differ by 2e-6."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true", help="few texts, two repeats: shows that it runs")
    add_hardware(parser)
    parser.add_argument("--arm", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    hardware = hardware_of(options)
    if options.arm:
        print(json.dumps(measure_arm(options.arm, options.model, hardware, quick=options.quick)))
        return
    arms = {name: lambda _, arm=name: in_fresh_process(arm, options, hardware) for name in ("peer", "ours")}
    runs = interleaved(arms, 2 if options.quick else 5)
    peer, ours = runs["peer"], runs["ours"]
    difference = max(abs(a["nll"] - b["nll"]) / a["tokens"] for a, b in zip(peer, ours, strict=True))
    if difference > ALIKE[hardware.dtype]:
        sys.exit(f"The arms disagree by {difference:.2g} nats per token.")
    rows: list[dict[str, object]] = [
        {
            "what": what,
            "peer": medians(peer, key),
            "ours": medians(ours, key),
            "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
        }
        for what, key in (
            ("time, s", "seconds"),
            ("CPU time, s", "cpu"),
            ("peak memory above the model, MB", "above_mb"),
            ("peak memory in all, MB", "peak_mb"),
        )
    ]
    settings = {"texts": peer[0]["texts"], "tokens": peer[0]["tokens"], "tokens_per_batch": 2048}
    settings["largest_difference_nats_per_token"] = difference
    name, title = Path(options.model).name, "NLL by chunks against full logits"
    show_and_save("nll", title, name, settings, rows, hardware=hardware, quick=options.quick)


def in_fresh_process(arm: str, options: argparse.Namespace, hardware: Hardware) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, "--model", options.model, *hardware.flags]
    command += ["--quick"] if options.quick else []
    # Only the result travels on stdout; what loading says stays on stderr.
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def measure_arm(arm: str, model: str, hardware: Hardware, *, quick: bool) -> dict[str, float]:
    from armillary.scoring import sequence_nll

    loaded = hardware.load(model)
    texts = some_texts(loaded.tokenizer, 24 if quick else 128)
    score = full_logits_nll if arm == "peer" else lambda *a: sequence_nll(*a).nll
    score(loaded, ["a short text to warm up"])
    hardware.resting_mb()  # from here on a card counts
    before = hardware.peak_mb()
    with timed(loaded.device) as spent:
        total = sum(score(loaded, texts))
    tokens = sum(len(row) - 1 for row in loaded.tokenizer(texts)["input_ids"])
    after = hardware.peak_mb()
    counts = {"texts": len(texts), "tokens": tokens}
    return {**spent, "above_mb": after - before, "peak_mb": after, "nll": total, **counts}


def full_logits_nll(loaded, texts):  # type: ignore[no-untyped-def]
    """The usual way: ``model(...).logits`` of the batch, then cross-entropy."""
    import torch
    from torch.nn import functional

    from armillary.models.batches import encode, pad, padded_batches

    rows = encode(loaded, texts)
    totals = [0.0] * len(rows)
    with torch.inference_mode():
        for batch in padded_batches(rows, 2048):
            ids, mask = pad([rows[index] for index in batch], device=loaded.device)
            logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            nll = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
            sums = (nll.view(len(batch), -1) * mask[:, 1:]).double().sum(1).tolist()
            for index, value in zip(batch, sums, strict=True):
                totals[index] = value
    return totals


def some_texts(tokenizer, count):  # type: ignore[no-untyped-def]
    """Texts of 60 to 250 random tokens: the work depends on the lengths, not on what is said."""
    draws = random.Random(0)
    return [
        tokenizer.decode([draws.randrange(300, 30_000) for _ in range(draws.randrange(60, 250))]) for _ in range(count)
    ]


if __name__ == "__main__":
    main()
