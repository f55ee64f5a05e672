"""What is measured of the given model before and after its tuning, and its answers read by another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.ultragen.analyse.attention import AttributeAttention, attention_to_attributes
from armillary.methods.ultragen.asking import evaluated
from armillary.methods.ultragen.config import SamplingConfig
from armillary.methods.ultragen.evaluation import EvaluatedSet, scored_response
from armillary.methods.ultragen.sampling import prompt_text
from armillary.methods.ultragen.set_files import StoredSet
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import bare_ids, prompt_rows, text_ids
from armillary.runs.parts import Parts
from armillary.scoring.answers import answer_log_probabilities
from armillary.scoring.nll import sequence_nll
from reproductions.ultragen.scale import TUNED_BEST_OF, TunedScale
from reproductions.ultragen.tuned.making import HeldOut

READ = 500
"""Tokens of a text that are compared: texts and answers have half of that."""

DEPTH = 2 / 3
"""Of the reader, at which tokens' states are compared: late enough to know the context, before the next token."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model's answers to one kind of prompts."""

    sets: list[EvaluatedSet]
    swapped: list[float]
    """Share of each prompt's attributes that the first answer to the next prompt meets: the null."""


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One of the three models: as given, after AR, after GPO."""

    local: dict[str, Asked]
    """By number of attributes, on held-out texts' own; ``TUNED_BEST_OF`` answers each at ``scale.dense``, else one."""

    wide: Asked
    """On sets that no text had."""

    nats: list[float]
    """A token of each held-out text, behind its prompt of ``scale.dense``."""

    attention: list[AttributeAttention]
    """Of the first held-out texts behind that prompt: the same tokens for every model."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """First answers to prompts of ``scale.dense`` as another, frozen model reads them; None for one without words."""

    nats: list[float | None]
    """Mean surprise a token."""

    match: list[float | None]
    """Greedy matching F1 of the answer's tokens with the source's, by the cosine of their states."""

    match_other: list[float | None]
    """The same with the source of the next prompt: what two texts of this kind have anyway."""


def measured(loaded: LoadedModel, held: HeldOut, scale: TunedScale, parts: Parts, name: str, seed: int) -> ModelResult:
    """Every prompt asked of one model, the held-out texts read by it; answers are kept some at a time."""
    sampling = SamplingConfig(max_new_tokens=scale.new_tokens, batch_size=scale.batch)

    def asked(what: str, sets: list[StoredSet], k: int) -> Asked:
        answers = evaluated(loaded, sets, parts, name=f"{name}, {what}", k=k, sampling=sampling, seed=seed)
        firsts = [own.responses[0].text for own in answers]
        moved = [*firsts[1:], firsts[0]]
        others = [scored_response(own.attributes, text).csr for own, text in zip(sets, moved, strict=True)]
        return Asked(sets=answers, swapped=others)

    local = {
        str(count): asked(f"{count} attributes", sets, TUNED_BEST_OF if count == scale.dense else 1)
        for count, sets in held.local.items()
    }
    trained_on = held.local[scale.dense]
    return ModelResult(
        local=local,
        wide=asked("global sets", held.wide, TUNED_BEST_OF),
        nats=[nats_of(loaded, own.prompt, text) for own, text in zip(trained_on, held.texts, strict=True)],
        attention=[
            parts.decoded(
                AttributeAttention,
                f"{name}, attention {place}",
                partial(attention_to_attributes, loaded, own.attributes, text, seed=seed),
            )
            for place, (own, text) in enumerate(zip(trained_on[: scale.attended], held.texts, strict=False))
        ],
    )


def nats_of(loaded: LoadedModel, request: str, text: str) -> float:
    """Mean surprise (nats a token) of the text as the answer to the request: the loss of equation 1."""
    (prompt,) = prompt_rows(loaded, [prompt_text(loaded, request)])
    (answer,) = bare_ids(loaded.tokenizer, [text])
    ids = torch.tensor([prompt], device=loaded.device)
    prompts: dict[str, Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    (scores,) = answer_log_probabilities(loaded.model, prompts, [[answer]])
    return -float(scores.mean[0])


def read_by(reader: LoadedModel, answers: Sequence[str], sources: Sequence[str]) -> Reading:
    """The answers read by a frozen model that wrote none of them."""
    known = [index for index, answer in enumerate(answers) if len(text_ids(reader, answer)) > 1]
    nats = dict(zip(known, sequence_nll(reader, [answers[index] for index in known]).per_token, strict=True))
    states = {index: states_of(reader, answers[index]) for index in known}
    of_sources = [states_of(reader, source) for source in sources]
    # States of a language model point mostly one way; what they have in common tells no two tokens apart.
    common = np.concatenate(of_sources).mean(0)
    unlike = [*of_sources[1:], of_sources[0]]
    match, other = (
        [
            greedy_f1(states[index] - common, source - common) if index in states else None
            for index, source in enumerate(rows)
        ]
        for rows in (of_sources, unlike)
    )
    return Reading(nats=[nats.get(index) for index in range(len(answers))], match=match, match_other=other)


@torch.inference_mode()
def states_of(reader: LoadedModel, text: str) -> NDArray[np.float64]:
    """The states of the text's own first ``READ`` tokens at ``DEPTH`` of the model, ``[T, D]``."""
    (row,) = prompt_rows(reader, [text])
    before = len(row) - len(text_ids(reader, text))
    outputs = reader.model(
        torch.tensor([row[: before + READ]], device=reader.device),
        output_hidden_states=True,
        logits_to_keep=1,
        use_cache=False,
    )
    layer_TD = outputs.hidden_states[round(DEPTH * reader.anatomy.num_layers)][0]
    states: NDArray[np.float64] = layer_TD.double().cpu().numpy()
    return states[before:]


def greedy_f1(answer_TD: NDArray[np.float64], source_TD: NDArray[np.float64]) -> float:
    """Harmonic mean of each token's best cosine on the other side (BERTScore's F1, Zhang and others 2020).

    Neither weighted by rarity nor rescaled.
    """
    sides = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (answer_TD, source_TD)]
    cosines = sides[0] @ sides[1].T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
