"""A zoo of small character models whose kinship is known, trained here: what Model-diff should tell apart.

Legend: N rows or sequences, T characters of a row, L tokens of a sequence.
"""

import copy
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
from torch.nn import Module
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from armillary.errors import UsageError
from armillary.methods.modeldiff import CompareConfig, Comparison, InputSpace, compare
from armillary.methods.modeldiff.ancestry import Lineage, lineage, noisy, rounded
from armillary.methods.modeldiff.config import Weighting
from armillary.methods.modeldiff.ratings import RatedDirection, RatingAgreement, agreement_with_people
from armillary.methods.modeldiff.weights import compare_weights
from armillary.models import LoadedModel, find_anatomy
from armillary.numerics.intervals import Interval
from armillary.runs.parts import Store
from reproductions.modeldiff.grammar import ALPHABET, Grammar, base, other, shifted
from reproductions.modeldiff.scale import Scale, ZooScale
from reproductions.modeldiff.stages import Edge, edge
from reproductions.modeldiff.training import finetuned, fit

Kind = Literal["base", "other seed", "trained less", "other corpus"]
"""What is trained from nothing. All but "other corpus" see the same rows, "trained less" the first of base's own."""

KINDS: tuple[Kind, ...] = get_args(Kind)
Derivation = Literal[
    "noise 0.01", "noise 0.03", "noise 0.1", "8 bit", "4 bit", "pruned 50 %", "reordered", "fine-tuned"
]
DERIVATIONS: tuple[Derivation, ...] = get_args(Derivation)

BOS = 0
"""Id of the beginning-of-text token; the characters of the alphabet follow it."""

_HELD_OUT_SEED, _SHIFTED_SEED = 900_001, 900_002
"""Far from the seeds of families, so that no row is drawn twice."""

THRESHOLDS = (0.1, 0.25, 0.5)
"""Nats per character by which a model must prefer an input for it to be rated."""


def tokenizer() -> PreTrainedTokenizerBase:
    """One token a character of the grammars, preceded by "<bos>"; other characters are dropped."""
    vocabulary = {"<bos>": BOS, **{character: index for index, character in enumerate(ALPHABET, start=BOS + 1)}}
    characters = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    characters.decoder = decoders.Fuse()
    characters.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=characters, bos_token="<bos>", model_max_length=512, clean_up_tokenization_spaces=False
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
    # What is far off is so after a quarter of the steps.
    steps = max(1, round(scale.steps * scale.less)) if kind in ("trained less", "other corpus") else scale.steps
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
    return _opened(model, kind)


def _opened(model: PreTrainedModel, name: str) -> LoadedModel:
    return LoadedModel(model, tokenizer(), find_anatomy(model), name, "a character model trained here")


def derived(loaded: LoadedModel, how: Derivation, seed: int, scale: ZooScale) -> LoadedModel:
    """A copy of a character model of the zoo, changed in a known way. UsageError for an unknown way."""
    kind, _, amount = how.partition(" ")
    if how not in DERIVATIONS:
        raise UsageError(f"the derivation must be one of {', '.join(DERIVATIONS)}; got {how!r}.")
    if kind == "noise":
        return noisy(loaded, float(amount), seed=seed)
    if amount == "bit":
        return rounded(loaded, int(kind))
    if kind in ("pruned", "reordered"):
        change = _prune if kind == "pruned" else partial(_reorder, generator=torch.Generator().manual_seed(seed))
        return _with_layers(loaded, change, how)
    rows_NT = corpus(shifted(), scale.rows, scale.length, seed=_SHIFTED_SEED + seed)
    steps = max(1, round(scale.steps * scale.further))
    with _one_thread():
        return finetuned(
            loaded, rows_NT, steps=steps, learning_rate=scale.finetune_rate, seed=seed, batch_size=scale.batch_size
        )


def _with_layers(loaded: LoadedModel, change: Callable[[Module], None], name: str) -> LoadedModel:
    """A copy with every layer changed in place."""
    model = copy.deepcopy(loaded.model)
    anatomy = find_anatomy(model)
    with torch.no_grad():
        for layer in anatomy.layers:
            change(layer)
    return LoadedModel(model, loaded.tokenizer, anatomy, f"{loaded.name} {name}", f"{loaded.source}, {name}")


def _prune(layer: Module) -> None:
    """The half of each matrix that is nearest to 0 set to 0."""
    for weight in layer.parameters():
        if weight.dim() == 2:
            weight[weight.abs() < weight.abs().median()] = 0.0


def _reorder(layer: Module, generator: torch.Generator) -> None:
    """The FFN's neurons in another order, which changes no prediction."""
    ffn = layer.get_submodule("mlp")
    order = torch.randperm(ffn.get_parameter("down_proj.weight").shape[1], generator=generator)
    for name in ("gate_proj", "up_proj"):
        weight = ffn.get_parameter(f"{name}.weight")
        weight.copy_(weight[order])
    weight = ffn.get_parameter("down_proj.weight")
    weight.copy_(weight[:, order])


@torch.inference_mode()
def nats_per_character(loaded: LoadedModel, rows_NT: Int[Tensor, "n t"]) -> float:
    """Mean NLL (nats) of the characters of rows that begin with the beginning-of-text token."""
    rows_NT = rows_NT.to(loaded.device)
    logits_NTV = loaded.model(input_ids=rows_NT[:, :-1], use_cache=False).logits.double()
    return float(torch.nn.functional.cross_entropy(logits_NTV.flatten(0, 1), rows_NT[:, 1:].flatten()))


def held_out(scale: ZooScale, n: int = 512, grammar: Grammar | None = None) -> Int[Tensor, "n t"]:
    """Rows of the base language, or of another, that no model was trained on, up to chance."""
    return corpus(grammar or base(), n, scale.length, seed=_HELD_OUT_SEED)


def entropy(scale: ZooScale, n: int = 512) -> float:
    """Nats per character of the rows of ``held_out`` by the base language itself: the least that a model can reach."""
    texts = base().sample(n, scale.length, seed=_HELD_OUT_SEED)
    return -float(np.mean([base().log_prob(text) for text in texts])) / scale.length


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


# Stage E4: what Model-diff says of the zoo.


@dataclass(frozen=True, kw_only=True)
class FamilyResult:
    """The models of one seed as Model-diff sees them."""

    held_out: dict[str, float]
    """Nats per character of held-out text of the base language, by kind; also of an untrained model, and the least
    that is possible, by the grammar."""

    shifted: dict[str, float]
    """The same of held-out text of the shifted language: the base model and its fine-tuned copy."""

    lineage: Lineage
    """Predictions of the base model beside those of its derivations, its siblings and strangers of other seeds."""

    related: dict[str, float]
    """Share of the matrices of each copy and each independent model that are related to the base model's."""

    verdicts: dict[str, str]
    """What ``lineage`` says of each of these by the weights."""

    itself: list[Interval]
    """Share of the overlap of the base model with itself, as A and as B, by default settings."""

    another: list[Interval]
    """The same with the model of another seed."""

    agreements: list[RatingAgreement]
    """The fully trained model against the one trained less, rated by the grammar, at each of ``THRESHOLDS``."""

    shuffled: list[RatingAgreement]
    """The same with the ratings handed out at random."""

    edge: Edge


def open_family(seed: int, scale: ZooScale, store: Store) -> dict[Kind, LoadedModel]:
    """Every model of one seed, trained once."""
    return {
        kind: open_model(kind, store(f"weights {kind} {seed}", partial(train, kind, seed, scale)), scale)
        for kind in KINDS
    }


def family(seed: int, seeds: Sequence[int], scale: Scale, store: Store) -> FamilyResult:
    """The zoo of one seed; the base models of the other seeds are strangers trained on the same language."""
    models = open_family(seed, scale.zoo, store)
    strangers = {
        f"stranger {other_seed} {kind}": model
        for other_seed in seeds
        if other_seed != seed
        for kind, model in open_family(other_seed, scale.zoo, store).items()
        if kind in ("base", "other seed")
    }
    base_model, space = models["base"], InputSpace(length=scale.zoo_length)
    copies = {how: derived(base_model, how, seed, scale.zoo) for how in DERIVATIONS}
    relatives: dict[str, LoadedModel] = {**dict(copies.items()), "other seed": models["other seed"], **strangers}
    by_weights = {name: compare_weights(base_model, model, seed=seed) for name, model in relatives.items()}
    itself, another = (
        list(compare(base_model, other_model, space, CompareConfig(seed=seed)).overlap_share.values())
        for other_model in (base_model, models["other seed"])
    )
    comparison = compare(base_model, models["trained less"], space, _config(scale, seed, "count"))
    right = [ratings(base_model, direction.ids_NL, base()) for direction in (comparison.a, comparison.b)]
    # The null: the same ratings handed out at random over both models' samples. Within one model's samples alone they
    # would keep that model's mean, and with it the effect.
    shuffled = np.split(np.random.default_rng(seed).permutation(np.concatenate(right)), [len(right[0])])
    learners: dict[str, LoadedModel] = dict(models.items())
    learners["untrained"] = _opened(_untrained(scale.zoo, seed), "untrained")
    rows_NT, shifted_NT = held_out(scale.zoo), held_out(scale.zoo, grammar=shifted())
    return FamilyResult(
        held_out={name: nats_per_character(model, rows_NT) for name, model in learners.items()}
        | {"the grammar": entropy(scale.zoo)},
        shifted={
            name: nats_per_character(model, shifted_NT)
            for name, model in (("base", base_model), ("fine-tuned", copies["fine-tuned"]))
        },
        lineage=_kinship(models, copies, strangers, seed, scale),
        related={name: len(weights.related) / len(weights.matrices) for name, weights in by_weights.items()},
        verdicts={name: Lineage(relatives=(), weights=weights).verdict for name, weights in by_weights.items()},
        itself=itself,
        another=another,
        agreements=_agreements(comparison, right, seed, scale),
        shuffled=_agreements(comparison, shuffled, seed, scale),
        edge=edge(comparison.a.own_N),
    )


def _config(scale: Scale, seed: int, weighting: Weighting) -> CompareConfig:
    return CompareConfig(
        samples=scale.zoo_samples,
        weighting=weighting,
        replicates=scale.replicates,
        batch_size=512,
        block=scale.zoo_samples,
        seed=seed,
    )


def _kinship(
    models: Mapping[Kind, LoadedModel],
    copies: Mapping[Derivation, LoadedModel],
    strangers: Mapping[str, LoadedModel],
    seed: int,
    scale: Scale,
) -> Lineage:
    """Features of every relative of the base model: its derivations, its siblings, the strangers of other seeds."""
    unrelated: dict[str, LoadedModel] = {kind: model for kind, model in models.items() if kind != "base"}
    return lineage(
        models["base"],
        models["other seed"],
        InputSpace(length=scale.zoo_length),
        _config(scale, seed, "profile"),
        derivations={how: partial(_made, model) for how, model in copies.items()},
        unrelated=unrelated | dict(strangers),
        weights=False,
    )


def _made(model: LoadedModel, _: LoadedModel) -> LoadedModel:
    """A derivation that was made before."""
    return model


def _agreements(
    comparison: Comparison, ratings_by_side: Sequence[NDArray[np.float64]], seed: int, scale: Scale
) -> list[RatingAgreement]:
    return agreement_with_people(
        RatedDirection.of(comparison.a, ratings_by_side[0]),
        RatedDirection.of(comparison.b, ratings_by_side[1]),
        [threshold * scale.zoo_length for threshold in THRESHOLDS],
        seed=seed,
        replicates=scale.replicates,
    )
