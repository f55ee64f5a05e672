"""A loaded language model as a source of a comparison: sequences after its prefix, all of one length.

Legend: N sequences, L tokens of each, K temperatures (rungs).
"""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Draws, Floats, SequenceSource, Side, Tokens
from armillary.models import LoadedModel
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
        """The model over ``space``; ``rows`` is the number of token ids that both models know.

        Raises UsageError where the model has no beginning-of-text token and no prefix is given, where prefix and
        length do not fit its positions, or where its weights are of half precision and that was not asked for.
        """
        if loaded.dtype not in (torch.float32, torch.float64) and not config.half_precision:
            raise UsageError(
                f"{loaded.name} holds {loaded.facts()['dtype']} weights, whose rounding (some 0.05 nat a token) would "
                "be taken for a difference; load it in float32, or set half_precision."
            )
        prefix = prefix_ids(loaded, space.prefix)
        check_room(loaded, prefix, space.length)
        size = loaded.anatomy.vocabulary_size
        banned = set(range(size if rows is None else rows, size)) | (
            set(end_tokens(loaded)) if space.ban_eos else set()
        )
        return cls(
            loaded=loaded,
            prefix=prefix,
            length=space.length,
            temperatures=config.temperatures,
            batch_size=config.batch_size,
            banned=tuple(sorted(banned)),
        )

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


def prefix_ids(loaded: LoadedModel, prefix: str | None) -> tuple[int, ...]:
    """The tokens in front of every sequence: the beginning-of-text token, or those of ``prefix``.

    Raises UsageError where there is neither.
    """
    if prefix is not None:
        ids = loaded.tokenizer(prefix)["input_ids"]
        if not ids:
            raise UsageError(f"The prefix {prefix!r} has no tokens in the tokenizer of {loaded.name}.")
        return tuple(int(token) for token in ids)
    token = loaded.tokenizer.bos_token_id
    if not isinstance(token, int):
        raise UsageError(f"The tokenizer of {loaded.name} has no beginning-of-text token; give a prefix.")
    return (token,)


# Whether two models count over the same token sequences: their tokenizers must give every id the same string.


def same_vocabulary(a: LoadedModel, b: LoadedModel) -> None:
    """Nothing where every id stands for the same token in both, else UsageError.

    The sentence names both ``vocabulary_hash`` values, how many ids differ and the first of them. Added tokens count;
    rows of the embedding beyond the tokenizer's ids (padding of the matrix) do not.
    """
    strings_a, strings_b = _strings(a.tokenizer), _strings(b.tokenizer)
    if strings_a == strings_b:
        return
    both = strings_a.keys() | strings_b.keys()
    differing = sorted(id for id in both if strings_a.get(id) != strings_b.get(id))
    first = differing[0]
    raise UsageError(
        f"{a.name} (vocabulary {vocabulary_hash(a.tokenizer)}, {len(strings_a)} tokens) and {b.name} "
        f"({vocabulary_hash(b.tokenizer)}, {len(strings_b)} tokens) have different vocabularies: {len(differing)} ids "
        f"differ, the first is {first}, {_quoted(strings_a, first)} in the one and {_quoted(strings_b, first)} in the "
        'other; mode="text" compares them on text instead.'
    )


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hex digits of sha256 over all pairs of id and token string, added tokens included, in order of id."""
    pairs = sorted((id, string) for string, id in tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=True).encode()).hexdigest()[:16]


def _strings(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {id: string for string, id in sorted(tokenizer.get_vocab().items())}


def _quoted(strings: dict[int, str], id: int) -> str:
    return repr(strings[id]) if id in strings else "not used"


def pair_of_sources(
    a: LoadedModel | SequenceSource, b: LoadedModel | SequenceSource, space: InputSpace, config: CompareConfig
) -> tuple[dict[Side, SequenceSource], tuple[str, str]]:
    """Both models as sources over the ids that both have, and their names. UsageError for different vocabularies."""
    rows = None
    if isinstance(a, LoadedModel) and isinstance(b, LoadedModel):
        same_vocabulary(a, b)
        rows = min(a.anatomy.vocabulary_size, b.anatomy.vocabulary_size)
    first, second = (
        ModelSource.of(model, space, config, rows) if isinstance(model, LoadedModel) else model for model in (a, b)
    )
    return {"a": first, "b": second}, (str(getattr(a, "name", "A")), str(getattr(b, "name", "B")))
