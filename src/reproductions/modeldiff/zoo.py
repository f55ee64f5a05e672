"""A zoo of small character models whose kinship is known, trained here: what Model-diff should tell apart.

Legend: N rows, T characters of a row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, processors
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from armillary.cli.reproduce import Preset
from armillary.errors import UsageError
from armillary.methods.modeldiff import CompareConfig, Comparison, InputSpace, compare, expected_effective_size
from armillary.methods.modeldiff.ancestry import lineage
from armillary.methods.modeldiff.derivations import finetuned, fit, noisy, rounded
from armillary.methods.modeldiff.ratings import RatedDirection, agreement_with_people
from armillary.models import LoadedModel, find_anatomy
from armillary.numerics.intervals import Interval
from reproductions.modeldiff.grammar import ALPHABET, Grammar, base, other, shifted
from reproductions.modeldiff.scale import Scale

Kind = Literal["base", "other seed", "trained less", "other corpus"]
"""What is trained from nothing. All but "other corpus" see the same rows, "trained less" the first of base's own."""

KINDS: tuple[Kind, ...] = get_args(Kind)
Derivation = Literal["noise 0.01", "noise 0.03", "noise 0.1", "8 bit", "4 bit", "fine-tuned"]
DERIVATIONS: tuple[Derivation, ...] = get_args(Derivation)

BOS = 0
"""Id of the beginning-of-text token; the characters of the alphabet follow it."""

_HELD_OUT_SEED, _SHIFTED_SEED = 900_001, 900_002


@dataclass(frozen=True, kw_only=True)
class ZooScale:
    """Size of the models and of their training."""

    steps: int
    less: float = 0.25
    """Share of the steps that "trained less" gets, with a schedule of its own."""

    further: float = 0.05
    """Share of the steps that the fine-tuned copy gets on shifted text."""

    batch_size: int = 64
    length: int = 32
    """Characters of a row, after the beginning-of-text token."""

    rows: int = 16_384
    """Different rows of a corpus."""

    learning_rate: float = 3e-3
    finetune_rate: float = 3e-4
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 256


ZOO_SCALES: dict[Preset, ZooScale] = {
    "quick": ZooScale(steps=40, batch_size=16, rows=512, hidden=32, layers=2, heads=2, intermediate=48),
    "laptop": ZooScale(steps=400),
    "gpu": ZooScale(steps=4000, rows=131_072),
}


def tokenizer() -> PreTrainedTokenizerBase:
    """One token a character of the grammars, preceded by "<bos>"; other characters are dropped."""
    vocabulary = {"<bos>": BOS, **{character: index for index, character in enumerate(ALPHABET, start=BOS + 1)}}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.decoder = decoders.Fuse()
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<bos>", model_max_length=512, clean_up_tokenization_spaces=False
    )


def corpus(grammar: Grammar, n: int, length: int, *, seed: int) -> Int[Tensor, "n t"]:
    """``n`` beginnings of streams as token ids ``[n, 1 + length]``, the beginning-of-text token first."""
    drawn_NT = torch.from_numpy(grammar.draw(n, length, seed=seed)) + BOS + 1
    return torch.nn.functional.pad(drawn_NT, (1, 0), value=BOS)


def train(kind: Kind, seed: int, scale: ZooScale) -> dict[str, NDArray[Any]]:
    """Weights of a model trained from nothing, by name: the same on a CPU for the same seed and scale.

    ``seed`` fixes the corpus; "other seed" differs from "base" in its first weights and the order of rows. UsageError
    for an unknown kind.
    """
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    rows_NT = corpus(other() if kind == "other corpus" else base(), scale.rows, scale.length, seed=seed)
    steps = max(1, round(scale.steps * scale.less)) if kind == "trained less" else scale.steps
    own = 1000 * seed + {"base": 0, "trained less": 0, "other seed": 1, "other corpus": 2}[kind]
    with _one_thread():
        model = _untrained(scale, own)
        fit(
            model,
            rows_NT,
            steps=steps,
            batch_size=scale.batch_size,
            learning_rate=scale.learning_rate,
            seed=own,
            schedule="cosine",
            label=f"Training a character model: {kind}",
        )
    return {name: value.numpy() for name, value in model.state_dict().items()}


def open_model(kind: Kind, weights: Mapping[str, NDArray[Any]], scale: ZooScale) -> LoadedModel:
    """The model whose weights ``train`` gave."""
    model = _untrained(scale, 0)
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return LoadedModel(model, tokenizer(), find_anatomy(model), kind, f"character model, {scale.steps} steps")


def derived(loaded: LoadedModel, how: Derivation, seed: int, scale: ZooScale) -> LoadedModel:
    """A copy of a character model of the zoo, changed in a known way. UsageError for an unknown way."""
    kind, _, amount = how.partition(" ")
    if how not in DERIVATIONS:
        raise UsageError(f"the derivation must be one of {', '.join(DERIVATIONS)}; got {how!r}.")
    if kind == "noise":
        return noisy(loaded, float(amount), seed=seed)
    if amount == "bit":
        return rounded(loaded, int(kind))
    rows_NT = corpus(shifted(), scale.rows, scale.length, seed=_SHIFTED_SEED + seed)
    steps = max(1, round(scale.steps * scale.further))
    with _one_thread():
        return finetuned(
            loaded, rows_NT, steps=steps, learning_rate=scale.finetune_rate, seed=seed, batch_size=scale.batch_size
        )


@torch.inference_mode()
def nats_per_character(loaded: LoadedModel, rows_NT: Int[Tensor, "n t"]) -> float:
    """Mean NLL (nats) of the characters of rows that begin with the beginning-of-text token."""
    rows_NT = rows_NT.to(loaded.device)
    logits_NTV = loaded.model(input_ids=rows_NT[:, :-1], use_cache=False).logits.double()
    return float(torch.nn.functional.cross_entropy(logits_NTV.flatten(0, 1), rows_NT[:, 1:].flatten()))


def held_out(scale: ZooScale, n: int = 512) -> Int[Tensor, "n t"]:
    """Rows of the base language that no model was trained on, up to chance."""
    return corpus(base(), n, scale.length, seed=_HELD_OUT_SEED)


def ratings(loaded: LoadedModel, ids_NL: NDArray[np.int64], grammar: Grammar) -> NDArray[np.float64]:
    """1.0 for each sequence of token ids (prefix not included) that begins a stream of the grammar, else 0.0."""
    texts: Sequence[str] = loaded.tokenizer.batch_decode(ids_NL.tolist())
    return np.array([grammar.rating(text) for text in texts])


def _untrained(scale: ZooScale, seed: int) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(ALPHABET) + 1,
        hidden_size=scale.hidden,
        num_hidden_layers=scale.layers,
        num_attention_heads=scale.heads,
        num_key_value_heads=scale.heads,
        intermediate_size=scale.intermediate,
        max_position_embeddings=max(64, 2 * scale.length),
        bos_token_id=BOS,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    return model


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums on the CPU depend in their last bits on how many threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# Stage E4 of the Model-diff reproduction: a zoo of character models whose kinship is known.
#
# Legend: N sequences, L tokens.

Found = dict[str, Any]
Arrays = dict[str, Any]
Keep = Callable[[str, Callable[[], Arrays]], Arrays]
"""Keeps the arrays of a name, computed once."""

THRESHOLDS = (0.1, 0.25, 0.5)
"""Nats per character by which a model must prefer an input for it to be rated."""


def open_family(seed: int, scale: ZooScale, keep: Keep) -> dict[Kind, LoadedModel]:
    """Every model of one seed, trained once."""
    return {
        kind: open_model(kind, keep(f"weights {kind} {seed}", partial(train, kind, seed, scale)), scale)
        for kind in KINDS
    }


def quality(models: Mapping[Kind, LoadedModel], scale: ZooScale) -> dict[str, float]:
    """Nats per character of held-out text of the base language."""
    rows_NT = held_out(scale)
    return {kind: nats_per_character(model, rows_NT) for kind, model in models.items()}


def kinship(
    models: Mapping[Kind, LoadedModel], strangers: Mapping[str, LoadedModel], seed: int, scale: Scale, zoo: ZooScale
) -> Found:
    """Features of every relative of the base model: its derivations, its siblings, the strangers of other seeds."""
    makers: dict[str, Callable[[LoadedModel], LoadedModel]] = {
        how: partial(derived, how=how, seed=seed, scale=zoo) for how in DERIVATIONS
    }
    unrelated = {kind: model for kind, model in models.items() if kind != "base"} | dict(strangers)
    found = lineage(
        models["base"],
        models["other seed"],
        InputSpace(length=scale.zoo_length),
        CompareConfig(
            samples=scale.zoo_samples,
            weighting="profile",
            replicates=scale.replicates,
            batch_size=512,
            seed=seed,
        ),
        derivations=makers,
        unrelated=unrelated,
        reference=models["other corpus"],
    )
    return {
        one.name: {
            "kind": one.kind,
            "mean": one.spread.mean.to_dict(),
            "deviation": one.spread.deviation.to_dict(),
            "overlap": one.spread.overlap.to_dict(),
            "correlation": one.spread.correlation.to_dict() if one.spread.correlation else None,
        }
        for one in found.relatives[1:]
    }


def rated(models: Mapping[Kind, LoadedModel], seed: int, scale: Scale) -> Found:
    """Claim 7: the fully trained model against the one that was trained less, judged by the grammar as the rater."""
    result = compare(
        models["base"],
        models["trained less"],
        InputSpace(length=scale.zoo_length),
        CompareConfig(
            samples=scale.zoo_samples,
            weighting="count",
            replicates=scale.replicates,
            batch_size=512,
            block=scale.zoo_samples,
            seed=seed,
        ),
    )
    good = [ratings(models["base"], held.ids_NL, base()) for held in (result.a, result.b)]
    judged = agreement_with_people(
        RatedDirection.of(result.a, good[0]),
        RatedDirection.of(result.b, good[1]),
        [value * scale.zoo_length for value in THRESHOLDS],
        seed=seed,
        replicates=scale.replicates,
    )
    # The null: the same ratings handed out at random over both models' samples. Within one model's samples alone they
    # would keep that model's mean, and with it the effect.
    mixed = np.split(np.random.default_rng(seed).permutation(np.concatenate(good)), [len(good[0])])
    null = agreement_with_people(
        RatedDirection.of(result.a, mixed[0]),
        RatedDirection.of(result.b, mixed[1]),
        [value * scale.zoo_length for value in THRESHOLDS],
        seed=seed,
        replicates=scale.replicates,
    )
    return {
        "good": [float(one.mean()) for one in good],
        "thresholds": list(THRESHOLDS),
        "judged": judged,
        "null": null,
        "effective": effective(result),
        "curves": curves(result),
    }


def effective(result: Comparison) -> Found:
    """Effective samples of A's direction with the window's upper edge at three quantiles, and what Eq. 5 expects."""
    own_N, rows = result.a.own_N, []
    for quantile in (0.25, 0.5, 0.75):
        low, high = np.quantile(own_N, [0.05, quantile])
        kept = own_N[(own_N >= low) & (own_N <= high)]
        seen = float(np.exp(kept - kept.max()).sum() ** 2 / np.exp(2 * (kept - kept.max())).sum())
        rows.append({"quantile": quantile, "seen": seen, "expected": expected_effective_size(own_N, float(high))})
    return {"samples": len(own_N), "mean": float(own_N.mean()), "deviation": float(own_N.std()), "rows": rows}


def curves(result: Comparison) -> Found:
    """Both directions' profile histograms as plain data."""
    found: Found = {}
    for side in ("a", "b"):
        curve = result.curve(side, weighting="profile")
        found[side] = {"value": curve.value, "low": curve.low, "high": curve.high}
        found["difference"] = curve.difference
    return found


def told(value: Any) -> Interval:
    """An interval that was kept as plain data."""
    return Interval.from_dict(value)
