"""Samples with exact log-probabilities against ``generate(output_scores=True)`` and a re-scoring forward, batch 64.

    python benchmarks/sampling.py [--model smollm2-135m-instruct] [--quick]

Both arms draw 64 sequences of the same length (no end token stops them, so that the work is the same) at temperature
1 from the whole vocabulary, and give the log-probability of each. CPU time is told as well, since it is hardly moved
by what else the machine does.
"""

import argparse
import sys
from pathlib import Path

import torch
from measure import add_hardware, hardware_of, interleaved, medians, ratio, show_and_save, timed

from armillary.models import LoadedModel
from armillary.models.batches import encode, pad
from armillary.scoring import sample, token_nll

BATCH = 64
ALIKE = {"float32": 1e-4, "bfloat16": 0.15}
"""Nats a token by which a log-probability may differ from that of the sequence read afresh. With 8 bits the states
kept from token to token and those of one pass round differently: SmolLM2 differs by 0.04 over 8 tokens."""

ONE = "Write a short story about a lighthouse keeper who finds an old map of the city in a bottle on the beach."
MANY = [f"The {number} most important facts about the history of the city are these:" for number in range(2, 66)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true", help="short samples, one repeat: shows that it runs")
    parser.add_argument("--new-tokens", type=int)
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    loaded = hardware.load(options.model)
    loaded.model.generation_config.eos_token_id = None  # no row stops early
    new_tokens = options.new_tokens or (8 if options.quick else 32)
    settings: dict[str, object] = {"batch": BATCH, "new_tokens": new_tokens}
    rows: list[dict[str, object]] = []
    for what, prompts in (("one prompt, 64 samples", [ONE] * BATCH), ("64 prompts, a sample each", MANY)):
        arms = {
            "peer": lambda seed, prompts=prompts: by_generate(loaded, prompts, new_tokens, seed),
            "ours": lambda seed, prompts=prompts: by_armillary(loaded, prompts, new_tokens, seed),
        }
        if not options.quick:
            interleaved(arms, 1)  # warm-up
        runs = interleaved(arms, 1 if options.quick else 5)
        peer, ours = runs["peer"], runs["ours"]
        for kind, key in (("time, s", "seconds"), ("CPU time, s", "cpu")):
            row: dict[str, object] = {
                "what": f"{what}: {kind}",
                "peer": medians(peer, key),
                "ours": medians(ours, key),
            }
            row["ratio"] = ratio([run[key] for run in peer], [run[key] for run in ours])
            rows.append(row)
        shares = {"generate": medians(peer, "generate"), "rescore": medians(peer, "rescore")}
        settings[f"{what}: parts of the peer's time, s"] = shares
    error = check_exact(loaded, new_tokens)
    if error > ALIKE[hardware.dtype]:
        sys.exit(f"A log-probability differs from re-scoring by {error:.2g} nats per token.")
    settings["largest_difference_nats_per_token"] = error
    name, title = Path(options.model).name, "64 samples with log-probabilities"
    show_and_save("sampling", title, name, settings, rows, hardware=hardware, quick=options.quick)


@torch.inference_mode()
def by_generate(loaded: LoadedModel, prompts: list[str], new_tokens: int, seed: int) -> dict[str, float]:
    """Sampling by transformers with scores kept, then one forward over the whole sequences."""
    torch.manual_seed(seed)
    with timed(loaded.device) as whole:
        with timed(loaded.device) as first:
            ids, mask = pad(encode(loaded, prompts), side="left", device=loaded.device)
            drawn = loaded.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=new_tokens,
                pad_token_id=0,
                output_scores=True,
                return_dict_in_generate=True,
            )
        with timed(loaded.device) as second:
            seen = torch.cat([mask, mask.new_ones((len(prompts), new_tokens))], dim=1)
            positions = (seen.cumsum(1) - 1).clamp_min(0)
            logits = loaded.model(
                input_ids=drawn.sequences, attention_mask=seen, position_ids=positions, logits_to_keep=new_tokens + 1
            ).logits[:, :-1]
            new = drawn.sequences[:, ids.shape[1] :]
            logprobs = logits.float().log_softmax(-1).gather(2, new[:, :, None])[:, :, 0].double().sum(1)
    assert logprobs.shape == (len(prompts),) and new.shape[1] == new_tokens
    return {**whole, "generate": first["seconds"], "rescore": second["seconds"]}


def by_armillary(loaded: LoadedModel, prompts: list[str], new_tokens: int, seed: int) -> dict[str, float]:
    """Our sampler, asked the way a user would: distinct prompts, and how many samples of each."""
    distinct = list(dict.fromkeys(prompts))
    with timed(loaded.device) as spent:
        drawn = sample(
            loaded,
            distinct,
            num_samples=len(prompts) // len(distinct),
            max_new_tokens=new_tokens,
            seed=seed,
            batch_size=BATCH,
            stop_ids=[],
        )
    assert [len(sequence) for sequence in drawn.sequences] == [new_tokens] * len(prompts)
    return spent


def check_exact(loaded: LoadedModel, new_tokens: int) -> float:
    """Largest difference, nats per token, between a log-probability and scoring the sequence afresh."""
    prompts = MANY[:4]
    drawn = sample(loaded, prompts, max_new_tokens=new_tokens, seed=0)
    errors = []
    for row, sequence, logprob in zip(encode(loaded, prompts), drawn.sequences, drawn.logprobs, strict=True):
        nll = token_nll(loaded, torch.tensor([row + sequence], device=loaded.device))[0, len(row) - 1 :].double().sum()
        errors.append(abs(float(nll) + logprob) / len(sequence))
    return max(errors)


if __name__ == "__main__":
    main()
