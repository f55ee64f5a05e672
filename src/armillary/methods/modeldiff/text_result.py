"""What a comparison on text gives: both models' texts with the difference per byte, as a record and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import InsufficientSamplesError, NumericError, UsageError
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.source import vocabulary_hash
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, bootstrap_weighted
from armillary.scoring import token_nll

# One model's way between tokens and text: which token sequences are the tokenizer's own reading of their text, where
# such a text may be cut, and how surprising a text is to the model.

Cut = Literal["pre-token", "white space"]

SPECIAL = "special token"
BROKEN = "replacement character"
OTHER_TOKENS = "not canonical"
EMPTY = "nothing left after the cut"
READ_DIFFERENTLY = "not given back by the other tokenizer"
REASONS = (SPECIAL, BROKEN, OTHER_TOKENS, EMPTY, READ_DIFFERENTLY)
"""Why a draw is left out, in the order in which they are looked for."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_PROBE = "one two three"


@dataclass(frozen=True)
class Reading:
    """A model with the text that stands in front of every text compared (None: its beginning-of-text token)."""

    loaded: LoadedModel
    prefix: str | None = None

    @cached_property
    def start_ids(self) -> list[int]:
        """Tokens that are given and not scored; UsageError where the model has none to start from."""
        if self.prefix is not None:
            ids = encode(self.loaded, [self.prefix])[0]
            if self._text(self._prefix_ids) != self.prefix:
                raise UsageError(f"The tokenizer of {self.loaded.name} does not give the prefix {self.prefix!r} back.")
            return ids
        token = self.loaded.tokenizer.bos_token_id
        if not isinstance(token, int):
            raise UsageError(f"The tokenizer of {self.loaded.name} has no beginning-of-text token; give a prefix.")
        return [token]

    @cached_property
    def cut(self) -> Cut:
        """Where texts are cut: between the tokenizer's own pre-tokens, or before white space where it has none."""
        # Some tokenizers (Gemma's) hand a whole text to their merges as one piece.
        if not self.loaded.tokenizer.is_fast:
            return "white space"
        pieces = self.loaded.tokenizer(_PROBE, add_special_tokens=False).word_ids(0)
        return "pre-token" if len(set(pieces)) > 1 else "white space"

    def canonical(self, ids: Sequence[int]) -> tuple[str, str | None]:
        """The text of these tokens after the prefix, and why it can't be compared (one of ``REASONS``) or None.

        Canonical means ``encode(decode(ids)) == ids``.
        """
        if not self._special.isdisjoint(ids):
            return "", SPECIAL
        whole = self._text([*self._prefix_ids, *ids])
        text = whole.removeprefix(self.prefix or "")
        if _REPLACEMENT in text:
            return text, BROKEN
        return text, None if self.encoded(text) == list(ids) else OTHER_TOKENS

    def encoded(self, text: str) -> list[int] | None:
        """The tokens that the tokenizer gives ``text`` after the prefix.

        None where no plain tokens stand for exactly this text: it merges with the prefix, needs a special token (an
        unknown word), or comes back changed.
        """
        whole = (self.prefix or "") + text
        ids: list[int] = self.loaded.tokenizer(whole, add_special_tokens=False)["input_ids"]
        before = len(self._prefix_ids)
        plain = self._special.isdisjoint(ids[before:])
        if ids[:before] == self._prefix_ids and plain and self._text(ids) == whole:
            return ids[before:]
        return None

    def shortened(self, text: str, ids: Sequence[int]) -> str:
        """A canonical text up to its last boundary, so that its last token can't merge with what would follow.

        The length limit may have cut the last pre-token short, so that one is always left out, and white space at the
        end too. Empty where no boundary leaves the other tokens as they were.
        """
        for end in reversed(self._boundaries(text, ids)):
            shorter = self._head(ids, end)
            if shorter and not shorter[-1].isspace() and self.encoded(shorter) == list(ids[:end]):
                return shorter
        return ""

    def nll(self, texts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        """Summed NLL (nats, float64) of the tokens that the tokenizer gives each text, after ``start_ids``.

        UsageError for a text that has no ``encoded`` tokens or more than the model has positions, NumericError where
        an NLL is not finite.
        """
        whole = [[*self.start_ids, *self._required(text)] for text in texts]
        if not whole:
            return np.zeros(0)
        longest = max(map(len, whole))
        room = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and longest > room:
            raise UsageError(f"A text has {longest} tokens for {self.loaded.name}, which has {room} positions.")
        totals = np.zeros(len(whole))
        for batch in padded_batches(whole, batch_size * longest):
            ids_BT, mask_BT = pad([whole[index] for index in batch], device=self.loaded.device)
            scored_BT = token_nll(self.loaded, ids_BT, mask_BT)[:, len(self.start_ids) - 1 :]
            totals[batch] = scored_BT.sum(dim=1, dtype=torch.float64).cpu().numpy()
        if not np.isfinite(totals).all():
            raise NumericError(f"{self.loaded.name} gave NaN or infinite logits within one of the texts.")
        return totals

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.loaded.tokenizer.all_special_ids)

    @cached_property
    def _prefix_ids(self) -> list[int]:
        ids: list[int] = self.loaded.tokenizer(self.prefix or "", add_special_tokens=False)["input_ids"]
        return ids

    def _required(self, text: str) -> list[int]:
        ids = self.encoded(text)
        if ids is None:
            raise UsageError(f"The tokenizer of {self.loaded.name} does not give the text {text[:60]!r} back.")
        return ids

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.loaded.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def _head(self, ids: Sequence[int], end: int) -> str:
        return self._text([*self._prefix_ids, *ids[:end]]).removeprefix(self.prefix or "")

    def _boundaries(self, text: str, ids: Sequence[int]) -> list[int]:
        """Numbers of tokens after which the text may be cut, ascending."""
        if self.cut == "pre-token":
            whole = self.loaded.tokenizer((self.prefix or "") + text, add_special_tokens=False)
            pieces = whole.word_ids(0)[len(self._prefix_ids) :]
            return [end for end in range(1, len(ids)) if pieces[end] != pieces[end - 1]]
        heads = [(end, self._head(ids, end)) for end in range(1, len(ids))]
        return [end for end, head in heads if text.startswith(head) and text[len(head) : len(head) + 1].isspace()]


# What one model wrote, as both models score it: its texts, what was left out, and the difference per byte.
#
# Every text was drawn at temperature 1, so means are over what that model writes; they are not counts over the input
# space, and a text that is likely to be written weighs more than one that is not.
# Legend: N texts, D bins of the difference.


@dataclass(frozen=True)
class TextRow:
    """One text, cut, that both tokenizers give back as it is."""

    text: str
    bytes: int
    """Of its UTF-8 form."""

    nll_a: float
    """Summed NLL (nats) under A of A's own tokens for it, after A's own prefix; an upper bound of -log p_A(text)."""

    nll_b: float
    """The same under B, with B's tokens and prefix."""

    side: Side
    """Which model wrote it."""

    @property
    def difference_per_byte(self) -> float:
        """``(nll_a - nll_b) / bytes``: below 0 A likes the text more than B does, whoever wrote it."""
        return (self.nll_a - self.nll_b) / self.bytes


@dataclass(frozen=True, kw_only=True)
class TextDirection:
    """What one model wrote, as both score it."""

    drawn: int
    """Sequences drawn."""

    dropped: Mapping[str, int]
    """Why sequences were left out, and how many."""

    acceptance: Interval
    """Share of draws that are canonical: ordinary tokens, and the ones that the tokenizer itself gives their text."""

    canonical_in_both: Interval
    """Of the canonical draws with text left after the cut, the share that the other tokenizer gives back too."""

    difference_per_byte: Interval
    """Mean over texts of ``(nll_a - nll_b) / bytes``, nats per byte."""

    log_ratio_bound: Interval
    """Summed NLL of the other model minus that of the writer, over all bytes (nats per byte).

    Like a Kullback-Leibler divergence but none: it is over the kept texts only, and an upper bound of the mean of
    ``log p(writer's tokens) - log p_other(text)``, since the other model may reach the text by more than one sequence
    of tokens and only its tokenizer's own is counted."""

    histogram_D: tuple[Interval, ...]
    """Share of texts in each bin of the difference per byte."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TextDirection":
        """From the plain data of ``dataclasses.asdict``."""
        names = ("acceptance", "canonical_in_both", "difference_per_byte", "log_ratio_bound")
        built: dict[str, Any] = {name: Interval.from_dict(data[name]) for name in names}
        built["histogram_D"] = tuple(Interval.from_dict(one) for one in data["histogram_D"])
        return cls(**{**data, **built})


def summarised(
    rows: Sequence[TextRow],
    dropped: Mapping[str, int],
    *,
    bins: Bins,
    seed: int,
    replicates: int,
    level: float,
) -> TextDirection:
    """One model's texts with what was left out; InsufficientSamplesError where none is left."""
    drawn, compared = len(rows) + sum(dropped.values()), len(rows)
    both = compared + dropped[READ_DIFFERENTLY]
    if not rows:
        found = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise InsufficientSamplesError(f"None of {drawn:,} texts drawn from one model can be compared ({found}).")
    bytes_N = np.array([row.bytes for row in rows], np.float64)
    nll_a_N, nll_b_N = np.array([[row.nll_a, row.nll_b] for row in rows], np.float64).T
    difference_N = nll_a_N - nll_b_N
    excess_N = -difference_N if rows[0].side == "a" else difference_N
    again: dict[str, Any] = {"seed": seed, "replicates": replicates, "level": level}
    how = f"percentile bootstrap over {compared:,} texts"
    counts_D = np.bincount(bins.index(difference_N / bytes_N), minlength=2 * bins.half + 1)
    return TextDirection(
        drawn=drawn,
        dropped=dict(dropped),
        acceptance=binomial(both + dropped[EMPTY], drawn, level=level),
        canonical_in_both=binomial(compared, both, level=level),
        difference_per_byte=bootstrap_mean(difference_N / bytes_N, how=how, **again),
        log_ratio_bound=bootstrap_weighted(
            lambda counts_RN: (counts_RN @ excess_N) / (counts_RN @ bytes_N), compared, how=how, **again
        ),
        histogram_D=tuple(binomial(int(count), compared, level=level) for count in counts_D),
    )


LIKE_A, LIKE_B = "A prefers", "B prefers"

Written = tuple[Sequence[TextRow], Mapping[str, int]]
"""Texts of one model, and how many of its draws were left out for each reason."""


@dataclass(frozen=True, kw_only=True)
class TextComparison:
    """Two models, whatever their tokenizers, on the texts that each writes."""

    model_a: str
    model_b: str
    vocabulary_a: str
    """``vocabulary_hash`` of A's tokenizer."""

    vocabulary_b: str
    cut_a: str
    """Where A's draws were cut: "pre-token" or "white space"."""

    cut_b: str
    length: int
    """Tokens drawn for a text, before the cut."""

    prefix: str | None
    seeds: tuple[int, int]
    """Of A's draws and of B's."""

    bins: Bins
    """Of the difference per byte; what lies further out counts in the outermost."""

    a: TextDirection
    """What A wrote."""

    b: TextDirection
    rows: tuple[TextRow, ...]
    """A's texts, then B's, in the order drawn; duplicates stay."""

    @classmethod
    def of(
        cls,
        a: Reading,
        b: Reading,
        written: tuple[Written, Written],
        *,
        bin_width: float,
        replicates: int,
        level: float,
        **facts: Any,
    ) -> "TextComparison":
        """The figures of what both models wrote; ``facts`` are the fields that say how it was drawn."""
        rows = tuple(row for texts, _ in written for row in texts)
        bins = Bins.spanning(bin_width, [np.array([row.difference_per_byte for row in rows])])
        of_a, of_b = (
            summarised(texts, dropped, bins=bins, seed=seed, replicates=replicates, level=level)
            for (texts, dropped), seed in zip(written, facts["seeds"], strict=True)
        )
        return cls(
            model_a=a.loaded.name,
            model_b=b.loaded.name,
            vocabulary_a=vocabulary_hash(a.loaded.tokenizer),
            vocabulary_b=vocabulary_hash(b.loaded.tokenizer),
            cut_a=a.cut,
            cut_b=b.cut,
            prefix=a.prefix,
            bins=bins,
            a=of_a,
            b=of_b,
            rows=rows,
            **facts,
        )

    def examples(self, k: int = 5) -> dict[str, list[TextRow]]:
        """The ``k`` texts of largest difference per byte each way, whoever wrote them: the strongest first."""
        ordered = sorted(self.rows, key=lambda row: row.difference_per_byte)
        return {
            LIKE_A: [row for row in ordered[:k] if row.difference_per_byte < 0],
            LIKE_B: [row for row in ordered[::-1][:k] if row.difference_per_byte > 0],
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"seeds": list(self.seeds), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TextComparison":
        """Inverse of ``to_dict``."""
        built = {
            "seeds": tuple(data["seeds"]),
            "bins": Bins(**data["bins"]),
            "a": TextDirection.from_dict(data["a"]),
            "b": TextDirection.from_dict(data["b"]),
            "rows": tuple(TextRow(**row) for row in data["rows"]),
        }
        return cls(**{**data, **built})

    def table(self) -> str:
        """A short table for the terminal."""
        lines = [f"A: {self.model_a}, B: {self.model_b}; texts of {self.length} tokens before the cut, nats per byte"]
        for name, one in (("A", self.a), ("B", self.b)):
            lines += [
                f"  written by {name}: {one.difference_per_byte.n:,} of {one.drawn:,} draws compared",
                f"    {'canonical draws':<34}{_shown(one.acceptance)}",
                f"    {'of these, canonical in both':<34}{_shown(one.canonical_in_both)}",
                f"    {'mean of NLL A - NLL B':<34}{_shown(one.difference_per_byte)}",
                f"    {'log ratio, writer to other (bound)':<34}{_shown(one.log_ratio_bound)}",
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _shown(value: Interval) -> str:
    interval = "" if value.low is None or value.high is None else f"  [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.estimate:7.3f}{interval}"
