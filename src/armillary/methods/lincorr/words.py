"""Answer words as token ids: which words a tokenizer can say in one token, which were left out, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.methods.lincorr.config import Policy
from armillary.models import LoadedModel
from armillary.models.prompts import bare_ids

Status = Literal["whole", "first-word", "sub-word"]
"""What the token is of its word: all of it, its first word ("Abu" of "Abu Dhabi"), or only a piece."""

LEAST = 2
"""Domains with fewer words are refused: there is nothing to rank."""


@dataclass(frozen=True, kw_only=True)
class WordTable:
    """The restricted output vocabulary of one prompt. Columns of a logit table follow ``ids``."""

    ids: tuple[int, ...]
    """Token ids, sorted, each once."""

    tokens: tuple[str, ...]
    """The tokenizer's own name of each id: what two tokenizers are compared by."""

    labels: tuple[str, ...]
    """What a reader sees for each id: its words, joined by " / " where several share the token."""

    statuses: tuple[Status, ...]
    """Of each id, the most complete status of its words."""

    entries: Mapping[str, tuple[int, Status]]
    """Kept word -> (token id, status)."""

    dropped: Mapping[str, str]
    """Left-out word -> why."""

    def column(self, word: str) -> int:
        """The column of a word; UsageError when it was left out (with the reason) or never given."""
        if word in self.entries:
            return self.ids.index(self.entries[word][0])
        raise UsageError(f"{word!r} is not among the words: {self.dropped.get(word, 'it was not given')}.")

    @property
    def merged(self) -> tuple[tuple[str, ...], ...]:
        """Groups of words that share one token."""
        groups = [tuple(w for w, (token, _) in self.entries.items() if token == id) for id in self.ids]
        return tuple(group for group in groups if len(group) > 1)

    def coverage(self) -> "WordCoverage":
        """Which words took part and which did not, without the ids."""
        return WordCoverage(
            words=len(self.entries),
            tokens=len(self.ids),
            labels=self.labels,
            statuses=self.statuses,
            dropped=dict(self.dropped),
            merged=self.merged,
        )


@dataclass(frozen=True, kw_only=True)
class WordCoverage:
    """What a tokenizer could say of a list of words, as plain data."""

    words: int
    """Words that were kept."""

    tokens: int
    """Different tokens that stand for them."""

    labels: tuple[str, ...]
    statuses: tuple[Status, ...]
    """Of each label."""

    dropped: dict[str, str]
    """Left-out word -> why."""

    merged: tuple[tuple[str, ...], ...]
    """Groups of words that share one token."""


def resolve_words(
    loaded: LoadedModel, words: Sequence[str], *, prefix: str = " ", policy: Policy = "single"
) -> WordTable:
    """Tokens of ``prefix + word`` by the policy (see ``LinCorrConfig.policy``), without special tokens.

    "full" is the official rule: the first token, decoded and stripped, equals the first word. Raises UsageError for
    blank or repeated words, for an unknown policy, under "error" for a word that is not one token, and when fewer than
    two tokens survive: it names the first ten words that were left out, with the reasons.
    """
    if policy not in get_args(Policy):
        raise UsageError(f"policy must be one of {', '.join(get_args(Policy))}; got {policy!r}.")
    _refuse_blank_or_repeated(words)
    entries: dict[str, tuple[int, Status]] = {}
    dropped: dict[str, str] = {}
    for word in words:
        entry = _resolve(loaded.tokenizer, word.strip(), prefix, policy)
        if isinstance(entry, str):
            dropped[word] = entry
        elif entry[0] not in loaded.known_ids:
            dropped[word] = "the model has no row for its token"
        else:
            entries[word] = entry
    if policy == "error" and dropped:
        raise UsageError(f"policy 'error' accepts only words that are one token; left out: {_reasons(dropped)}.")
    ids = tuple(sorted({token for token, _ in entries.values()}))
    if len(ids) < LEAST:
        raise UsageError(
            f"only {len(ids)} of {len(words)} words can be used with this tokenizer (policy {policy!r}, prefix "
            f"{prefix!r}) and {LEAST} are needed; left out: {_reasons(dropped) or 'none, the words share one token'}."
        )
    return _table(loaded.tokenizer, ids, entries, dropped)


def token_table(loaded: LoadedModel, token_ids: Sequence[int]) -> WordTable:
    """A domain of given tokens, labelled by what they decode to: the control domain of random tokens."""
    entries: dict[str, tuple[int, Status]] = {
        _decoded(loaded.tokenizer, token): (token, "whole") for token in token_ids
    }
    return _table(loaded.tokenizer, tuple(sorted(token for token, _ in entries.values())), entries, {})


def gold_columns(
    gold: Mapping[str, Sequence[str]], source: WordTable, target: WordTable
) -> tuple[frozenset[int], ...]:
    """For each source column the right target columns; words that share a token share their answers."""
    columns: list[set[int]] = [set() for _ in source.ids]
    for word, answers in gold.items():
        if word in source.entries:
            right = {target.column(answer) for answer in answers if answer in target.entries}
            columns[source.column(word)] |= right
    return tuple(frozenset(column) for column in columns)


def word_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens that ``text`` has after other text, special tokens left off.

    Some SentencePiece tokenizers put a blank token of their own before a text; the word is then read after an equals
    sign, so that the blank is not taken for its first token.
    """
    ids, anchor, longer = bare_ids(tokenizer, [text, "=", f"={text}"])
    if len(ids) > 1 and not _decoded(tokenizer, ids[0]) and longer[: len(anchor)] == anchor:
        return longer[len(anchor) :]
    return ids


def _resolve(tokenizer: PreTrainedTokenizerBase, word: str, prefix: str, policy: Policy) -> tuple[int, Status] | str:
    """(token, status), or why the word is left out."""
    ids = word_tokens(tokenizer, prefix + word)
    first = _decoded(tokenizer, ids[0]) if ids else ""
    if not first or ids[0] == tokenizer.unk_token_id or ids[0] in tokenizer.all_special_ids:
        return "its first token is blank or unknown"
    if len(ids) == 1 and first == word:
        return ids[0], "whole"
    first_word = word.split()[0]
    status: Status = "first-word" if first == first_word and first_word != word else "sub-word"
    if policy == "first" or (policy == "full" and status == "first-word"):
        return ids[0], status
    if policy == "full":
        return f"its first token is only {first!r}"
    return f"{len(ids)} tokens" if len(ids) > 1 else f"its token reads {first!r}"


def _table(
    tokenizer: PreTrainedTokenizerBase,
    ids: tuple[int, ...],
    entries: Mapping[str, tuple[int, Status]],
    dropped: Mapping[str, str],
) -> WordTable:
    words = {id: [w for w, (token, _) in entries.items() if token == id] for id in ids}
    order = get_args(Status)
    return WordTable(
        ids=ids,
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(ids))),
        labels=tuple(" / ".join(words[id]) for id in ids),
        statuses=tuple(min((entries[w][1] for w in words[id]), key=order.index) for id in ids),
        entries=dict(entries),
        dropped=dict(dropped),
    )


def _refuse_blank_or_repeated(words: Sequence[str]) -> None:
    if not words:
        raise UsageError("the list of words is empty; at least 2 words are needed.")
    seen: set[str] = set()
    for word in words:
        if not word.strip():
            raise UsageError(f"the list of words holds {word!r}, which is blank.")
        if word.strip() in seen:
            raise UsageError(f"the list of words holds {word.strip()!r} twice; each word may stand once.")
        seen.add(word.strip())


def _reasons(dropped: Mapping[str, str]) -> str:
    listed = ", ".join(f"{word!r} ({why})" for word, why in list(dropped.items())[:10])
    return listed + (f" and {len(dropped) - 10} more" if len(dropped) > 10 else "")


def _decoded(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    return str(tokenizer.decode([token])).strip()


# Subjects, which fill the slot of a template: items of the model's own vocabulary, not entities of a relation.

_BLOCK = 1024
"""Tokens decoded together: most draws need only a small part of a large vocabulary."""


def vocabulary_subjects(loaded: LoadedModel, n: int, *, seed: int, keep_space: bool = False) -> list[str]:
    """``n`` distinct strings that tokens of the vocabulary decode to, drawn without replacement.

    Special and added tokens, blanks and tokens that are no valid UTF-8 by themselves are left out; surrounding white
    space is stripped unless ``keep_space``. Strings are drawn by token, so one that stands in the vocabulary with and
    without its space is drawn about twice as often. UsageError saying how many there are when ``n`` are not available.
    """
    if n < 2:
        raise UsageError(f"at least 2 subjects are needed; got n={n}.")
    ids = np.random.default_rng(seed).permutation(_ordinary_ids(loaded))
    distinct: dict[str, None] = {}
    for start in range(0, len(ids), _BLOCK):
        block = [[int(token)] for token in ids[start : start + _BLOCK]]
        for text in loaded.tokenizer.batch_decode(block, clean_up_tokenization_spaces=False):
            # A token that is a piece of a character decodes to U+FFFD, which could stand in no prompt.
            if "\ufffd" not in text and text.strip():
                distinct.setdefault(text if keep_space else text.strip())
            if len(distinct) == n:
                return list(distinct)
    raise UsageError(f"{n} subjects were asked for, but this vocabulary has only {len(distinct)} usable strings.")


def random_words(loaded: LoadedModel, count: int, *, seed: int, exclude: Sequence[int] = ()) -> list[int]:
    """Ids of tokens that are whole alphabetic words with a leading space, drawn without replacement, sorted.

    They stand in for tokens of middling frequency: no corpus counts are at hand, so the filter (three or more letters,
    a blank before them) is what keeps out byte fragments, digits and signs. Tokens in ``exclude`` are not drawn. Gives
    fewer than ``count`` where the vocabulary has no more.
    """
    left_out, drawn = set(exclude), list[int]()
    for token in np.random.default_rng(seed).permutation(_ordinary_ids(loaded)):
        name = str(loaded.tokenizer.convert_ids_to_tokens([int(token)])[0])
        text = str(loaded.tokenizer.decode([int(token)])).strip()
        spaced = name[:1] in ("\u0120", "\u2581")  # a space, as byte-level BPE and SentencePiece write it
        if spaced and len(text) >= 3 and text.isalpha() and int(token) not in left_out:
            drawn.append(int(token))
        if len(drawn) == count:
            break
    return sorted(drawn)


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
    return np.array([token for token in loaded.token_ids if token not in special], dtype=np.int64)
