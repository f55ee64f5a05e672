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
import time
from pathlib import Path

from measure import interleaved, medians, peak_mb, ratio, show_and_save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true", help="few texts, two repeats: shows that it runs")
    parser.add_argument("--arm", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(measure_arm(options.arm, options.model, options.quick)))
        return
    arms = {name: lambda _, arm=name: in_fresh_process(arm, options.model, options.quick) for name in ("peer", "ours")}
    timed = interleaved(arms, 2 if options.quick else 5)
    peer, ours = timed["peer"], timed["ours"]
    difference = max(abs(a["nll"] - b["nll"]) / a["tokens"] for a, b in zip(peer, ours, strict=True))
    if difference > 1e-5:
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
    show_and_save("nll", "NLL by chunks against full logits", Path(options.model).name, settings, rows)


def in_fresh_process(arm: str, model: str, quick: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, "--model", model, *(["--quick"] if quick else [])]
    # Only the result travels on stdout; what loading says stays on stderr.
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def measure_arm(arm: str, model: str, quick: bool) -> dict[str, float]:
    import armillary
    from armillary.scoring import sequence_nll

    loaded = armillary.load(model, device="cpu")
    texts = some_texts(loaded.tokenizer, 24 if quick else 128)
    score = full_logits_nll if arm == "peer" else lambda *a: sequence_nll(*a).nll
    score(loaded, ["a short text to warm up"])
    before = peak_mb()
    started, started_cpu = time.perf_counter(), time.process_time()
    total = sum(score(loaded, texts))
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    tokens = sum(len(row) - 1 for row in loaded.tokenizer(texts)["input_ids"])
    after = peak_mb()
    counts = {"texts": len(texts), "tokens": tokens}
    return {"seconds": seconds, "cpu": cpu, "above_mb": after - before, "peak_mb": after, "nll": total, **counts}


def full_logits_nll(loaded, texts):  # type: ignore[no-untyped-def]
    """The usual way: ``model(...).logits`` of the batch, then cross-entropy."""
    import torch
    from torch.nn import functional

    from armillary.models.batches import encode, pad, padded_batches

    rows = encode(loaded, texts)
    totals = [0.0] * len(rows)
    with torch.inference_mode():
        for batch in padded_batches(rows, 2048):
            ids, mask = pad([rows[index] for index in batch])
            logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            nll = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
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
