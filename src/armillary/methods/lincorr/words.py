"""Answer words as token ids: which words a tokenizer can say in one token, which were left out, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.methods.lincorr.config import Policy
from armillary.models import LoadedModel
from armillary.scoring import next_token_logits

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
        groups = [tuple(w for w, (token, _) in self.entries.items() if token == one) for one in self.ids]
        return tuple(group for group in groups if len(group) > 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: counts, left-out words with reasons, merged words."""
        return {
            "words": len(self.entries),
            "tokens": len(self.ids),
            "labels": list(self.labels),
            "statuses": list(self.statuses),
            "dropped": dict(self.dropped),
            "merged": [list(group) for group in self.merged],
        }


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
        found = _resolve(loaded.tokenizer, word.strip(), prefix, policy)
        if isinstance(found, str):
            dropped[word] = found
        else:
            entries[word] = found
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
    entries = {_decoded(loaded.tokenizer, token): (token, _whole()) for token in token_ids}
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


def preferred_prefix(loaded: LoadedModel, template: str, words: Sequence[str], subjects: Sequence[str]) -> str:
    """ " " or "": whichever variant of the words the model ranks higher after the template.

    Compares, over the subjects, the mean of the highest logit that any single-token word gets. UsageError when the
    words are single tokens in neither variant.
    """
    prompts = [template.replace("{}", subject) for subject in subjects]
    best: dict[str, float] = {}
    for prefix in (" ", ""):
        try:
            table = resolve_words(loaded, words, prefix=prefix)
        except UsageError:
            continue
        best[prefix] = float(np.mean(next_token_logits(loaded, prompts, table.ids).max(axis=1)))
    if not best:
        raise UsageError("fewer than 2 of the words are single tokens, with a leading space or without.")
    return max(best, key=lambda prefix: best[prefix])


def word_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens that ``text`` has after other text, special tokens left off.

    Some SentencePiece tokenizers put a blank token of their own before a text; the word is then read after an equals
    sign, so that the blank is not taken for its first token.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) > 1 and not _decoded(tokenizer, ids[0]):
        anchor: list[int] = tokenizer("=", add_special_tokens=False)["input_ids"]
        longer: list[int] = tokenizer(f"={text}", add_special_tokens=False)["input_ids"]
        if longer[: len(anchor)] == anchor:
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
    words = {one: [w for w, (token, _) in entries.items() if token == one] for one in ids}
    order = get_args(Status)
    return WordTable(
        ids=ids,
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(ids))),
        labels=tuple(" / ".join(words[one]) for one in ids),
        statuses=tuple(min((entries[w][1] for w in words[one]), key=order.index) for one in ids),
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


def _whole() -> Status:
    return "whole"
