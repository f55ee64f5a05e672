"""Whether two models count over the same token sequences: their tokenizers must give every id the same string."""

import hashlib
import json

from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.models import LoadedModel


def same_vocabulary(a: LoadedModel, b: LoadedModel) -> None:
    """Nothing where every id stands for the same token in both, else UsageError.

    The sentence names both ``vocabulary_hash`` values, how many ids differ and the first of them. Added tokens count;
    rows of the embedding beyond the tokenizer's ids (padding of the matrix) do not.
    """
    strings_a, strings_b = _strings(a.tokenizer), _strings(b.tokenizer)
    if strings_a == strings_b:
        return
    differing = sorted(id for id in strings_a.keys() | strings_b.keys() if strings_a.get(id) != strings_b.get(id))
    first = differing[0]
    raise UsageError(
        f"{a.name} (vocabulary {vocabulary_hash(a.tokenizer)}, {len(strings_a)} tokens) and {b.name} "
        f"({vocabulary_hash(b.tokenizer)}, {len(strings_b)} tokens) have different vocabularies: {len(differing)} ids "
        f"differ, the first is {first}, {_told(strings_a, first)} in the one and {_told(strings_b, first)} in the "
        'other; mode="text" compares them on text instead.'
    )


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hex digits of sha256 over all pairs of id and token string, added tokens included, in order of id."""
    pairs = sorted((id, string) for string, id in tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(pairs, ensure_ascii=True).encode()).hexdigest()[:16]


def _strings(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {id: string for string, id in sorted(tokenizer.get_vocab().items())}


def _told(strings: dict[int, str], id: int) -> str:
    return repr(strings[id]) if id in strings else "not used"
