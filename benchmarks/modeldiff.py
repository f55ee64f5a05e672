"""Drawing for Model-diff: against ``generate`` and re-scoring, four rungs against one, bootstrap against a plain loop.

    python benchmarks/modeldiff.py [--model smollm2-135m-instruct] [--quick]

Both sampling arms draw 64 sequences of 16 tokens from the beginning-of-text token at temperature 1 from the whole
vocabulary and give each one's log-probability. The bootstrap is that of a histogram of 20,000 weighted samples with
1,000 resamples; the loop draws indices and calls ``numpy.histogram``, one resample after the other. It needs no model,
so that other hardware than the processor in float32 leaves it out.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import add_hardware, hardware_of, interleaved, medians, ratio, show_and_save, timed

from armillary.methods.modeldiff.core import replicate_sums, resampled
from armillary.models import LoadedModel
from armillary.scoring.fixed_length import draw_fixed_length

BATCH, LENGTH = 64, 16
RUNGS = (1.0, 1.05, 1.1, 1.2)
SAMPLES, REPLICATES, BINS = 20_000, 1_000, 81


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--quick", action="store_true", help="a tiny model, one repeat: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    loaded = hardware.load(model)
    loaded.model.generation_config.eos_token_id = None  # no row stops early
    repeats = 1 if options.quick else 7
    rows = sampling(loaded, repeats)
    if hardware.plain:
        rows += bootstrap(1 if options.quick else 3)
    settings = {"batch": BATCH, "length": LENGTH, "rungs": list(RUNGS), "samples": SAMPLES, "replicates": REPLICATES}
    name, title = Path(model).name, "Drawing and resampling for Model-diff"
    show_and_save("modeldiff", title, name, settings, rows, hardware=hardware, quick=options.quick)


def sampling(loaded: LoadedModel, repeats: int) -> list[dict[str, object]]:
    """Time of 64 sequences: the obvious way, with one rung, with four."""
    arms = {
        "peer": lambda seed: spent_on(loaded, lambda: by_generate(loaded, seed)),
        "one": lambda seed: spent_on(loaded, lambda: drawn(loaded, seed, (1.0,))),
        "four": lambda seed: spent_on(loaded, lambda: drawn(loaded, seed, RUNGS)),
    }
    interleaved(arms, 1)  # warm-up
    runs = interleaved(arms, repeats)
    rows: list[dict[str, object]] = []
    for what, peer, ours in (
        ("64 sequences: generate and re-score, over one rung", "peer", "one"),
        ("one rung, over four rungs", "one", "four"),
    ):
        for kind, key in (("time, s", "seconds"), ("CPU time, s", "cpu")):
            spread = ratio([run[key] for run in runs[peer]], [run[key] for run in runs[ours]])
            rows.append(
                {
                    "what": f"{what}: {kind}",
                    "peer": medians(runs[peer], key),
                    "ours": medians(runs[ours], key),
                    "ratio": spread,
                }
            )
    return rows


def spent_on(loaded: LoadedModel, work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of a call."""
    with timed(loaded.device) as spent:
        work()
    return spent


@torch.inference_mode()
def by_generate(loaded: LoadedModel, seed: int) -> torch.Tensor:
    """Sampling by transformers, then one forward over the whole sequences."""
    torch.manual_seed(seed)
    first = torch.full((BATCH, 1), int(loaded.tokenizer.bos_token_id), device=loaded.device)
    drawn = loaded.model.generate(
        input_ids=first,
        attention_mask=torch.ones_like(first),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=LENGTH,
        pad_token_id=0,
    )
    logits = loaded.model(input_ids=drawn).logits[:, :-1]
    logprobs: torch.Tensor = logits.float().log_softmax(-1).gather(2, drawn[:, 1:, None])[:, :, 0].double().sum(1)
    assert drawn.shape == (BATCH, 1 + LENGTH)
    return logprobs


def drawn(loaded: LoadedModel, seed: int, temperatures: tuple[float, ...]) -> torch.Tensor:
    """Our arm: as many sequences, the rungs taking turns."""
    rungs = [row % len(temperatures) for row in range(BATCH)]
    draws = draw_fixed_length(
        loaded, [int(loaded.tokenizer.bos_token_id)], rungs, length=LENGTH, temperatures=temperatures, seed=seed
    )
    return draws.log_q_KN


def bootstrap(repeats: int) -> list[dict[str, object]]:
    """Intervals of a weighted histogram; the two ways have to give the same ends up to chance."""
    generator = np.random.default_rng(0)
    weights, values = generator.exponential(size=SAMPLES), 10 * generator.standard_normal(SAMPLES)
    edges = np.linspace(-40.5, 40.5, BINS + 1)
    cells = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
    ends: dict[str, np.ndarray] = {}

    def ours(_repeat: int) -> dict[str, float]:
        with timed("cpu") as spent:
            rows = np.arange(SAMPLES)
            blocks = resampled(rows, np.zeros(SAMPLES, dtype=np.int64), REPLICATES, 0)
            draws = ((counts, cells) for block in blocks for counts in block)
            ends["ours"] = np.quantile(replicate_sums(weights, draws, BINS), [0.025, 0.975], axis=0)
        return spent

    def peer(repeat: int) -> dict[str, float]:
        with timed("cpu") as spent:
            own = np.random.default_rng(repeat)
            sums = []
            for _ in range(REPLICATES):
                chosen = own.choice(SAMPLES, size=SAMPLES)
                sums.append(np.histogram(values[chosen], edges, weights=weights[chosen])[0])
            ends["peer"] = np.quantile(np.stack(sums), [0.025, 0.975], axis=0)
        return spent

    runs = interleaved({"peer": peer, "ours": ours}, repeats)
    widths = {name: np.diff(one, axis=0)[0] for name, one in ends.items()}
    if abs(widths["ours"].sum() / widths["peer"].sum() - 1) > 0.05:
        sys.exit("The two bootstraps give intervals of different width.")
    return [
        {
            "what": f"bootstrap, a loop over numpy.histogram: {kind}",
            "peer": medians(runs["peer"], key),
            "ours": medians(runs["ours"], key),
            "ratio": ratio([run[key] for run in runs["peer"]], [run[key] for run in runs["ours"]]),
        }
        for kind, key in (("time, s", "seconds"), ("CPU time, s", "cpu"))
    ]


if __name__ == "__main__":
    main()
