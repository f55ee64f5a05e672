"""What fills the slot of a template: items of the model's own vocabulary, not entities of the relation."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.models import LoadedModel

_BLOCK = 1024  # tokens decoded together: most draws need only a small part of a large vocabulary


def vocabulary_subjects(loaded: LoadedModel, n: int, *, seed: int, keep_space: bool = False) -> list[str]:
    """``n`` distinct strings that tokens of the vocabulary decode to, drawn without replacement.

    Special and added tokens, blanks and tokens that are no valid UTF-8 by themselves are left out; surrounding white
    space is stripped unless ``keep_space``. Strings are drawn by token, so one that stands in the vocabulary with and
    without its space is drawn about twice as often. UsageError saying how many there are when ``n`` are not available.
    """
    if n < 2:
        raise UsageError(f"at least 2 subjects are needed; got n={n}.")
    distinct: dict[str, None] = {}
    for text in _decoded(loaded, np.random.default_rng(seed).permutation(_ordinary_ids(loaded)), keep_space):
        distinct.setdefault(text)
        if len(distinct) == n:
            return list(distinct)
    raise UsageError(f"{n} subjects were asked for, but this vocabulary has only {len(distinct)} usable strings.")


def random_words(loaded: LoadedModel, count: int, *, seed: int, exclude: Sequence[int] = ()) -> list[int]:
    """Ids of tokens that are whole alphabetic words with a leading space, drawn without replacement, sorted.

    They stand in for tokens of middling frequency: no corpus counts are at hand, so the filter (three or more letters,
    a blank before them) is what keeps out byte fragments, digits and signs. Tokens in ``exclude`` are not drawn. Gives
    fewer than ``count`` where the vocabulary has no more.
    """
    left_out, found = set(exclude), list[int]()
    for token in np.random.default_rng(seed).permutation(_ordinary_ids(loaded)):
        name = str(loaded.tokenizer.convert_ids_to_tokens([int(token)])[0])
        text = str(loaded.tokenizer.decode([int(token)])).strip()
        spaced = name[:1] in ("\u0120", "\u2581")  # a space, as byte-level BPE and SentencePiece write it
        if spaced and len(text) >= 3 and text.isalpha() and int(token) not in left_out:
            found.append(int(token))
        if len(found) == count:
            break
    return sorted(found)


def halves(n: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted row numbers of the fitting half and of the test half, drawn at random; the odd row goes to the fit."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: (n + 1) // 2]), np.sort(order[(n + 1) // 2 :])


def refuse_repeated(subjects: Sequence[str]) -> None:
    """UsageError when a subject stands twice: it could then be on both sides of the split."""
    if len(set(subjects)) != len(subjects):
        twice = next(s for i, s in enumerate(subjects) if s in subjects[:i])
        raise UsageError(f"the subject {twice!r} stands twice; each must be given once, or it would be on both sides.")


def _ordinary_ids(loaded: LoadedModel) -> NDArray[np.int64]:
    tokenizer = loaded.tokenizer
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    size = min(len(tokenizer), loaded.anatomy.vocabulary_size)
    return np.array([token for token in range(size) if token not in special], dtype=np.int64)


def _decoded(loaded: LoadedModel, ids: NDArray[np.int64], keep_space: bool) -> Iterator[str]:
    for start in range(0, len(ids), _BLOCK):
        block = [[int(token)] for token in ids[start : start + _BLOCK]]
        for text in loaded.tokenizer.batch_decode(block, clean_up_tokenization_spaces=False):
            if "\ufffd" not in text and text.strip():
                yield text if keep_space else text.strip()
