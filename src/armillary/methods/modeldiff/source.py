"""A loaded language model as a source of a comparison: sequences after its prefix, all of one length.

Legend: N sequences, L tokens of each, K temperatures (rungs).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Draws, Floats, SequenceSource, Side, Tokens
from armillary.models import LoadedModel
from armillary.models.prompts import shared_prefix
from armillary.scoring.decoding import end_tokens
from armillary.scoring.fixed_length import check_room, draw_fixed_length, fixed_length_nll


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Draws from and scores with one model. Made by ``of``."""

    loaded: LoadedModel
    prefix: tuple[int, ...]
    """Token ids in front of every sequence, not scored."""

    length: int
    temperatures: tuple[float, ...] = (1.0,)
    batch_size: int = 64
    banned: tuple[int, ...] = field(default=(), repr=False)
    """Tokens of probability 0, in drawing and in scoring."""

    @classmethod
    def of(
        cls, loaded: LoadedModel, space: InputSpace, config: CompareConfig, rows: int | None = None
    ) -> "ModelSource":
        """One model over ``space``, of its ids those below ``rows`` alone; UsageError as in ``sources_of``."""
        source = sources_of([loaded], space, config)[0][0]
        beyond = range(loaded.anatomy.vocabulary_size if rows is None else rows, loaded.anatomy.vocabulary_size)
        return replace(source, banned=tuple(sorted({*source.banned, *beyond})))

    def sample(self, n: int, *, seed: int) -> Draws:
        """``n`` sequences, the rungs taking turns, each with its log-probability at every temperature."""
        rungs = np.arange(n) % len(self.temperatures)
        drawn = draw_fixed_length(
            self.loaded,
            self.prefix,
            rungs.tolist(),
            length=self.length,
            temperatures=self.temperatures,
            seed=seed,
            batch_size=self.batch_size,
            banned=self.banned,
        )
        plain = drawn.log_q_KNL[self.temperatures.index(1.0)].numpy() if 1.0 in self.temperatures else None
        return Draws(
            ids_NL=drawn.ids_NL.numpy(),
            log_q_KN=drawn.log_q_KN.numpy(),
            rung_N=rungs,
            nll_N=None if plain is None else -plain.sum(axis=1),
            token_nll_NL=None if plain is None else -plain,
        )

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats, float64) of each sequence."""
        total: Floats = self.token_scores(ids_NL).sum(axis=1)
        return total

    def token_scores(self, ids_NL: Tokens) -> Floats:
        """NLL (nats) of each token ``[n, l]``."""
        ids = torch.from_numpy(np.ascontiguousarray(ids_NL))
        nll = fixed_length_nll(self.loaded, self.prefix, ids, batch_size=self.batch_size, banned=self.banned)
        tokens: Floats = nll.double().numpy()
        return tokens

    def texts(self, ids_NL: Tokens) -> list[str]:
        """Each sequence as text."""
        return [str(text) for text in self.loaded.tokenizer.batch_decode(ids_NL.tolist())]

    def pieces(self, tokens: list[int]) -> list[str]:
        """Each token as text of its own."""
        return [str(self.loaded.tokenizer.decode([token])) for token in tokens]


def sources_of(
    models: Sequence[LoadedModel], space: InputSpace, config: CompareConfig
) -> tuple[list[ModelSource], tuple[str, ...]]:
    """Models over the same sequences: one prefix, and the ids that all of them have; notes on what that leaves out.

    Raises UsageError for vocabularies that differ (see ``common_ids``), where no model has tokens to begin with and no
    prefix is given, where prefix and length do not fit the positions, or where weights are of half precision and that
    was not asked for.
    """
    for loaded in models:
        if loaded.dtype not in (torch.float32, torch.float64) and not config.half_precision:
            raise UsageError(
                f"{loaded.name} holds {loaded.facts()['dtype']} weights, whose rounding (some 0.05 nat a token) would "
                "be taken for a difference; load it in float32, or set half_precision."
            )
    common = common_ids(models)
    prefix = shared_prefix(models, space.prefix)
    drawn = common - {token for loaded in models for token in end_tokens(loaded)} if space.ban_eos else common
    sources = []
    for loaded in models:
        check_room(loaded, prefix.ids, space.length)
        source = ModelSource(
            loaded=loaded,
            prefix=prefix.ids,
            length=space.length,
            temperatures=config.temperatures,
            batch_size=config.batch_size,
            banned=tuple(sorted(set(range(loaded.anatomy.vocabulary_size)) - drawn)),
        )
        sources.append(source)
    notes = [] if prefix.note is None else [prefix.note]
    notes += [
        f"{loaded.name} has {len(lacking):,} tokens that not all of the models have, such as "
        f"{loaded.tokenizer.convert_ids_to_tokens(lacking[0])!r}; their probability is set to 0."
        for loaded in models
        if (lacking := [token for token in loaded.token_ids if token not in common])
    ]
    return sources, tuple(notes)


# Whether models count over the same token sequences: an id must stand for one string in all of them.


class DifferentVocabularies(UsageError):
    """Two models whose token sequences can't be counted against one another."""


LEAST_SHARED = 0.9
"""Share of the smallest vocabulary that all must have: fewer is another tokenizer and not one with tokens added."""


def common_ids(models: Sequence[LoadedModel]) -> frozenset[int]:
    """Ids with the same string in all tokenizers and a row in all matrices.

    Tokens that one model alone has (added ones, renamed reserves, rows of padding) are left out. UsageError where a
    token has another id elsewhere, or where the vocabularies share too little; the sentence names both
    ``vocabulary_hash`` values, how many ids differ and the first of them.
    """
    first, strings = models[0], _strings(models[0])
    common = first.known_ids
    for other in models[1:]:
        others = _strings(other)
        if others == strings:
            common &= other.known_ids
            continue
        ids, other_ids = ({string: id for id, string in names.items()} for names in (strings, others))
        moved = [ids[string] for string in ids.keys() & other_ids.keys() if ids[string] != other_ids[string]]
        shared = {id for id, string in strings.items() if others.get(id) == string}
        common &= other.known_ids & shared
        if not moved and len(shared) >= LEAST_SHARED * min(len(strings), len(others)):
            continue
        differing = sorted(id for id in strings.keys() | others.keys() if strings.get(id) != others.get(id))
        named = (f"{names[differing[0]]!r}" if differing[0] in names else "not used" for names in (strings, others))
        raise DifferentVocabularies(
            f"{first.name} (vocabulary {vocabulary_hash(first.tokenizer)}, {len(strings)} tokens) and {other.name} "
            f"({vocabulary_hash(other.tokenizer)}, {len(others)} tokens) have different vocabularies: "
            f"{len(differing)} ids differ, the first is {differing[0]}, {' in the one and '.join(named)} in the other."
        )
    return common


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hex digits of sha256 over all pairs of id and token string, added tokens included, in order of id."""
    pairs = sorted((id, string) for string, id in tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=True).encode()).hexdigest()[:16]


def _strings(loaded: LoadedModel) -> dict[int, str]:
    return {id: string for string, id in sorted(loaded.tokenizer.get_vocab().items())}


def pair_of_sources(
    a: LoadedModel | SequenceSource, b: LoadedModel | SequenceSource, space: InputSpace, config: CompareConfig
) -> tuple[dict[Side, SequenceSource], tuple[str, str], tuple[str, ...]]:
    """Both models as sources over the same sequences, their names and notes. UsageError as in ``sources_of``."""
    names = (str(getattr(a, "name", "A")), str(getattr(b, "name", "B")))
    if isinstance(a, LoadedModel) and isinstance(b, LoadedModel):
        try:
            (first, second), notes = sources_of([a, b], space, config)
        except DifferentVocabularies as error:
            raise UsageError(f"{str(error)[:-1]}; compare_texts (--mode text) compares them on text.") from error
        return {"a": first, "b": second}, names, notes
    one, other = (
        ModelSource.of(model, space, config) if isinstance(model, LoadedModel) else model for model in (a, b)
    )
    return {"a": one, "b": other}, names, ()
