"""Mean activity of every neuron in every text: our streamed profile against TransformerLens and the bare forward.

    python benchmarks/bricks_profile.py [--model smollm2-135m-instruct] [--quick]

All arms read the same texts in the same batches and take turns in one process. TransformerLens runs ``run_with_cache``
and reduces ``blocks.*.mlp.hook_post`` (the input of the write matrix, after gate times up) to means over tokens, first
position dropped, after each batch: once with everything in its cache, as it is called without settings, once with a
``names_filter`` that keeps nothing else. It wraps a copy of the weights that we loaded, so nothing is fetched; it
always runs the head, which the others leave out. The bare forward is our model's body without a hook. The profile is
timed with its histograms and firing counts made for one text, for a quarter of them (the default's share of 200 texts)
and for all. Memory is the growth of the greatest use, each arm in a process of its own that had loaded the model and
read a short text. Outside the clock the means are compared.

The peer brings many packages, so give it an environment of its own: ``pip install -e '.[data]' transformer-lens``
(version 4 or later, for its ``TransformerBridge``). ``--quick`` also runs without it.
"""

import argparse
import copy
import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import Hardware, add_hardware, hardware_of, interleaved, medians, ratio, show_and_save, timed
from numpy.typing import NDArray
from torch import Tensor

from armillary.data.texts.corpora import corpus_texts
from armillary.methods.bricks.neurons.config import ProfileConfig
from armillary.methods.bricks.neurons.profiling import profile
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body

CORPUS, MAX_TOKENS, PER_BATCH = "world-factbook", 96, 2048
ALIKE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Share of a neuron's mean by which the arms may differ. With 8 bits a value is off by 0.4 %, and the small ones, of
which some mean of a hundred thousand is made, by several times that."""

WHOLE, LEAN, BARE = "TransformerLens, all cached", "TransformerLens, hook_post cached", "the bare forward"
MEANS, QUARTER, DETAIL = "profile", "profile, a quarter of the texts in detail", "profile, all texts in detail"
OURS = (MEANS, QUARTER, DETAIL)
PAIRS = ((WHOLE, MEANS), (LEAN, MEANS), (LEAN, DETAIL), *((BARE, own) for own in OURS))
Runs = dict[str, list[dict[str, float]]]
Means = NDArray[np.float32]
Arm = Callable[[list[str]], Means | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model, few texts, one repeat: shows that it runs")
    parser.add_argument("--arm", default=None, help=argparse.SUPPRESS)
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    count, repeats = (4, 1) if options.quick else (options.texts, options.repeats)
    some = corpus_texts(CORPUS, limit=count)
    if options.arm:
        print(json.dumps(memory(model, options.arm, some, hardware)))
        return
    peers = (WHOLE, LEAN) if importlib.util.find_spec("transformer_lens") else ()
    if not peers and not options.quick:
        sys.exit("transformer-lens is not installed here; --help tells how to set up an environment with it.")
    loaded = hardware.load(model)
    timed_arms = arms(loaded, (*peers, BARE, *OURS))
    apart = difference(timed_arms, some, peers, ALIKE[hardware.dtype])  # also the warm-up
    runs = interleaved({name: partial(spent_on, loaded, arm, some) for name, arm in timed_arms.items()}, repeats)
    pairs = [(peer, own) for peer, own in PAIRS if peer in timed_arms]
    rows = [
        row(kind, key, runs, *pair) for pair in pairs for kind, key in (("time, s", "seconds"), ("CPU time, s", "cpu"))
    ]
    against = [pair for pair in pairs if pair[0] in peers]
    weighed = dict.fromkeys(name for pair in against for name in pair)
    if against:
        apiece = {name: partial(isolated, model, name, count, hardware) for name in weighed}
        used = interleaved(apiece, min(repeats, 2))
        rows += [row("memory, MB", "mb", used, *pair) for pair in against]
    settings = {
        "texts": count,
        "tokens": sum(len(ids) for ids in encode(loaded, some, max_tokens=MAX_TOKENS)),
        "tokens_per_batch": PER_BATCH,
        "torch threads": torch.get_num_threads(),
        "transformer-lens": importlib.metadata.version("transformer-lens") if peers else "not installed",
        "largest relative difference of a mean": apart,
    }
    name, title = Path(model).name, "Activity of every neuron in every text"
    show_and_save("bricks_profile", title, name, settings, rows, hardware=hardware, quick=options.quick)
    if not peers:
        print("transformer-lens is not installed here: its arms were left out.")


def arms(loaded: LoadedModel, names: tuple[str, ...], *, copied: bool = True) -> dict[str, Arm]:
    """The named arms. TransformerLens changes the model that it wraps, so it gets a copy unless it is alone."""
    known: dict[str, Arm] = {BARE: partial(bare, loaded)}
    for name, share in zip(OURS, (0.0, 0.25, 1.0), strict=True):
        known[name] = partial(ours, loaded, share)
    if {WHOLE, LEAN} & set(names):
        model = copy.deepcopy(loaded.model) if copied else loaded.model
        build = importlib.import_module("transformer_lens.model_bridge.sources").build_bridge_from_module
        bridge = build(model, type(model).__name__, hf_config=model.config, model_name=loaded.name)
        hooks = [f"blocks.{layer}.mlp.hook_post" for layer in range(loaded.anatomy.num_layers)]
        known[WHOLE] = partial(theirs, loaded, bridge.run_with_cache, hooks)
        known[LEAN] = partial(theirs, loaded, partial(bridge.run_with_cache, names_filter=hooks), hooks)
    return {name: known[name] for name in names}


def ours(loaded: LoadedModel, share: float, some: list[str]) -> Means:
    """Means of all neurons; ``share`` of the texts, one at least, is counted in detail."""
    settings = ProfileConfig(
        max_tokens=MAX_TOKENS,
        tokens_per_batch=PER_BATCH,
        chunk=len(some),
        detail_texts=max(1, round(share * len(some))),
    )
    return profile(loaded, {CORPUS: some}, settings).means_NLM


@torch.inference_mode()
def bare(loaded: LoadedModel, some: list[str]) -> None:
    """The body alone."""
    for _, _, ids_BT, mask_BT in batches(loaded, some):
        run_body(loaded, ids_BT, mask_BT)


@torch.inference_mode()
def theirs(
    loaded: LoadedModel,
    run_with_cache: Callable[..., tuple[Tensor, dict[str, Tensor]]],
    hooks: list[str],
    some: list[str],
) -> Means:
    """The same means from TransformerLens' cache."""
    means_NLM = np.empty((len(some), len(hooks), loaded.anatomy.intermediate_size), np.float32)
    for batch, lengths, ids_BT, mask_BT in batches(loaded, some):
        _, cache = run_with_cache(ids_BT, attention_mask=mask_BT)
        for layer, hook in enumerate(hooks):
            size_BTM = cache[hook].abs()
            for row, (text, length) in enumerate(zip(batch, lengths, strict=True)):
                means_NLM[text, layer] = size_BTM[row, 1:length].float().mean(dim=0).cpu().numpy()
    return means_NLM


def batches(loaded: LoadedModel, some: list[str]) -> Iterator[tuple[list[int], list[int], Tensor, Tensor | None]]:
    """Which texts, their lengths, token ids and mask of each batch, as the profile makes them."""
    rows = encode(loaded, some, max_tokens=MAX_TOKENS)
    for batch in padded_batches(rows, PER_BATCH):
        ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
        yield batch, [len(rows[index]) for index in batch], ids_BT, None if bool(mask_BT.all()) else mask_BT


def spent_on(loaded: LoadedModel, arm: Arm, some: list[str], _repeat: int) -> dict[str, float]:
    """Seconds and CPU seconds of one arm."""
    with timed(loaded.device) as spent:
        arm(some)
    return spent


def isolated(model: str, name: str, count: int, hardware: Hardware, _repeat: int) -> dict[str, float]:
    """MB that an arm adds at its peak, in a process of its own."""
    command = [sys.executable, __file__, "--model", model, "--texts", str(count), "--arm", name, *hardware.flags]
    # Only the result travels on stdout; what loading says stays on stderr.
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"mb": float(json.loads(result.stdout.splitlines()[-1]))}


def memory(model: str, name: str, some: list[str], hardware: Hardware) -> float:
    """MB above what was in use before the arm began; one at least, so that ratios exist."""
    arm = arms(hardware.load(model), (name,), copied=False)[name]
    arm(["a short text to warm up"])
    before = hardware.resting_mb()
    arm(some)
    return max(1.0, hardware.peak_mb() - before)


def difference(arms: dict[str, Arm], some: list[str], peers: tuple[str, ...], alike: float) -> float:
    """Every arm runs once; the greatest difference of a mean from the plain profile's, over that mean."""
    results = {name: arm(some) for name, arm in arms.items()}
    means = {name: result for name, result in results.items() if result is not None}
    own = means[MEANS]
    apart = [float(np.max(np.abs(means[name] - own) / np.maximum(own, 1e-6))) for name in (*peers, *OURS)]
    if max(apart) > alike:
        sys.exit(f"The arms disagree by {max(apart):.2g} of a mean.")
    return max(apart)


def row(kind: str, key: str, runs: Runs, peer: str, own: str) -> dict[str, object]:
    """One comparison."""
    return {
        "what": f"{peer}, over {own}: {kind}",
        "peer": medians(runs[peer], key),
        "ours": medians(runs[own], key),
        "ratio": ratio([run[key] for run in runs[peer]], [run[key] for run in runs[own]]),
    }


if __name__ == "__main__":
    main()
