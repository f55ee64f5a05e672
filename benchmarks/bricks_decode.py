"""Decoding one token at a time with a quarter of the experts against the dense model, with what it costs in quality.

    python benchmarks/bricks_decode.py [--model smollm2-135m-instruct] [--experts 16] [--quick]

All arms decode the same tokens after the same prompt in one process and take turns; the time of a round is the median
of its steps, the router's included. Arms: the model as it is; its FFNs with gate and up in one matrix, all neurons; a
quarter of the experts chosen by a ridge router (experts by gate rows); a fixed quarter of the neurons, those of most
energy in the calibration texts. Beside each time stand the rise of the loss on held-out texts and the limit that bytes
of weights set to the speed-up of the whole model.
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from measure import ratio, show_and_save

import armillary
from armillary.data.texts.corpora import corpus_texts
from armillary.methods.bricks.experts.cost import Arm, DecodeCost, decode_cost, decode_times, static_cost
from armillary.methods.bricks.experts.partitioning import partition_by_weights
from armillary.methods.bricks.experts.routed_model import routed, sliced
from armillary.methods.bricks.experts.router_fit import ridge_router
from armillary.methods.bricks.losses import LossEffect, effect, text_losses
from armillary.methods.bricks.neurons.energy import keep_like, neuron_energy
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.records.plain import plain

CORPUS = "world-factbook"
PROMPT, STEPS, WARM_UP = 64, 50, 5
RATIOS = ("ffn_share", "ffn_ratio", "speed_limit")
DENSE, FUSED, FIXED = "the dense model", "dense, gate and up in one matrix", "a fixed quarter of the neurons"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--experts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a tiny model, few texts and rounds: shows that it runs")
    options = parser.parse_args()
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    if options.experts < 4 or options.experts % 4:
        sys.exit(f"--experts must be a multiple of 4, so that a quarter of them can run; got {options.experts}.")
    loaded = armillary.load(model, device="cpu")
    count = 6 if options.quick else 60
    calibration, held_out = corpus_texts(CORPUS, limit=count), corpus_texts(CORPUS, limit=count, split="test")
    arms, costs, difference = prepared(loaded, options.experts, calibration)
    effects = quality(loaded, arms, held_out)
    ids = tokens(loaded, held_out, PROMPT + STEPS + WARM_UP)
    rounds = 2 if options.quick else options.rounds
    timed = decode_times(loaded, ids, arms, steps=STEPS, warm_up=WARM_UP, rounds=rounds)
    rows = [row(name, timed.seconds_R[DENSE], timed.seconds_R[name], costs, effects) for name in arms if name != DENSE]
    settings = {
        "experts": options.experts,
        "experts a token": options.experts // 4,
        "prompt": PROMPT,
        "steps a round": STEPS,
        "torch threads": torch.get_num_threads(),
        "calibration texts": len(calibration),
        "held-out texts": len(held_out),
        "bytes": {
            name: {**plain(cost), **{ratio: getattr(cost, ratio) for ratio in RATIOS}} for name, cost in costs.items()
        },
        "largest difference of a logit with all experts": difference,
    }
    show_and_save("bricks_decode", "Decoding with a quarter of the FFNs", Path(model).name, settings, rows)


def prepared(
    loaded: LoadedModel, experts: int, calibration: list[str]
) -> tuple[dict[str, Arm], dict[str, DecodeCost], float]:
    """The arms, their costs, and the largest difference that a dense FFN read as experts makes to a logit."""
    layers, width = loaded.anatomy.num_layers, loaded.anatomy.intermediate_size
    partition = partition_by_weights(loaded, experts)
    router = ridge_router(loaded, partition, calibration)
    whole = Index(dict.fromkeys(range(layers), np.arange(width)))
    quarter = Index(dict.fromkeys(range(layers), np.arange(width // 4)))
    fixed = keep_like(neuron_energy(loaded, calibration), quarter)
    routing = f"routed, {experts // 4} of {experts} experts"
    arms: dict[str, Arm] = {
        DENSE: nullcontext,
        FUSED: lambda: sliced(loaded, whole),
        routing: lambda: routed(loaded, partition, router, k=experts // 4),
        FIXED: lambda: sliced(loaded, fixed),
    }
    costs = {
        FUSED: decode_cost(loaded, 1.0),
        routing: decode_cost(loaded, 0.25, router),
        FIXED: static_cost(loaded, fixed),
    }
    ids = torch.tensor([tokens(loaded, calibration, 16)])
    with torch.inference_mode():
        dense = loaded.model(input_ids=ids).logits
        with routed(loaded, partition, router, k=experts):
            difference = float((loaded.model(input_ids=ids).logits - dense).abs().max())
    return arms, costs, difference


def quality(loaded: LoadedModel, arms: dict[str, Arm], held_out: list[str]) -> dict[str, LossEffect]:
    """What each arm costs on held-out texts."""
    losses = {}
    for name, arm in arms.items():
        with arm():
            losses[name] = text_losses(loaded, {CORPUS: held_out})
    return {name: effect(losses[DENSE], changed) for name, changed in losses.items()}


def row(
    name: str, dense: np.ndarray, own: np.ndarray, costs: dict[str, DecodeCost], effects: dict[str, LossEffect]
) -> dict[str, object]:
    """One arm against the dense model; its loss and limit stand in the same row."""
    rise, limit = effects[name].delta_nll, costs[name].speed_limit
    return {
        "what": f"one token, s: dense over {name} (NLL {rise.estimate:+.2f} nats a token, byte limit {limit:.2f}x)",
        "peer": float(np.median(dense)),
        "ours": float(np.median(own)),
        "ratio": ratio(dense.tolist(), own.tolist()),
        "nll_change": rise.to_dict(),
        "byte_limit": limit,
    }


def tokens(loaded: LoadedModel, some: list[str], count: int) -> list[int]:
    """The first tokens of texts, one after the other."""
    first = [token for ids in encode(loaded, some, max_tokens=128) for token in ids][:count]
    if len(first) < count:
        sys.exit(f"The texts have {len(first)} tokens; {count} are needed.")
    return first


if __name__ == "__main__":
    main()
