"""Two models with different tokenizers, compared on text: each writes, both score, and the unit is the byte.

Token sequences of different vocabularies can't be counted against one another, so this mode gives no counts and no
weights (arXiv 2412.12177 compares models of one vocabulary; comparing on canonical texts is ours). Every text is drawn
at temperature 1, so means are over what a model writes; they are not counts over the input space, and a text that is
likely to be written weighs more than one that is not.
Legend: N texts, D bins of the difference.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.reading import EMPTY, READ_DIFFERENTLY, REASONS, Reading
from armillary.methods.modeldiff.source import vocabulary_hash
from armillary.models import LoadedModel
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, bootstrap_weighted
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept, part_name
from armillary.scoring import sample


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

    dropped: dict[str, int]
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


def summarised(
    rows: Sequence[TextRow], dropped: Mapping[str, int], *, bins: Bins, seed: int, replicates: int, level: float
) -> TextDirection:
    """One model's texts with what was left out; InsufficientSamplesError where none is left."""
    drawn, compared = len(rows) + sum(dropped.values()), len(rows)
    both = compared + dropped[READ_DIFFERENTLY]
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise InsufficientSamplesError(f"None of {drawn:,} texts drawn from one model can be compared ({reasons}).")
    bytes_N = np.array([row.bytes for row in rows], np.float64)
    nll_a_N, nll_b_N = np.array([[row.nll_a, row.nll_b] for row in rows], np.float64).T
    difference_N = nll_a_N - nll_b_N
    excess_N = -difference_N if rows[0].side == "a" else difference_N
    resampling: dict[str, Any] = {"seed": seed, "replicates": replicates, "level": level}
    how = f"percentile bootstrap over {compared:,} texts"
    counts_D = np.bincount(bins.index(difference_N / bytes_N), minlength=2 * bins.half + 1)
    return TextDirection(
        drawn=drawn,
        dropped=dict(dropped),
        acceptance=binomial(both + dropped[EMPTY], drawn, level=level),
        canonical_in_both=binomial(compared, both, level=level),
        difference_per_byte=bootstrap_mean(difference_N / bytes_N, how=how, **resampling),
        log_ratio_bound=bootstrap_weighted(
            lambda counts_RN: (counts_RN @ excess_N) / (counts_RN @ bytes_N), compared, how=how, **resampling
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
    start_a: str
    """What stands before every text that A reads, as text."""

    start_b: str
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
            start_a=str(a.loaded.tokenizer.decode(a.start_ids)),
            start_b=str(b.loaded.tokenizer.decode(b.start_ids)),
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


def compare_texts(
    a: LoadedModel,
    b: LoadedModel,
    *,
    length: int = 16,
    samples: int = 512,
    prefix: str | None = None,
    batch_size: int = 64,
    block: int = 128,
    bin_width: float = 0.05,
    seed: int | tuple[int, int] = 0,
    store: Store | None = None,
    replicates: int = 1000,
    level: float = 0.95,
) -> TextComparison:
    """``samples`` texts from each model, scored by both.

    Each model draws ``length`` tokens at temperature 1 after ``prefix`` (None: its beginning-of-text token). A draw is
    kept if its tokens are the tokenizer's own reading of its text; the text is cut before its last pre-token (before
    the last white space where the tokenizer has no pre-tokens; the result says which), and both models score their own
    tokens for it after their own prefix. ``bin_width`` is in nats per byte. ``seed`` is A's, and B's is one more; a
    pair gives each its own, so that swapping models and seeds swaps the result. ``store`` (such as ``Parts.arrays``)
    keeps each ``block`` of draws, so that a killed run goes on.

    Raises UsageError for settings out of range and for models without a beginning-of-text token where no prefix is
    given, NumericError where logits are not finite, InsufficientSamplesError where no text of a model can be compared.
    """
    seeds = (2 * seed, 2 * seed + 1) if isinstance(seed, int) else seed
    _check(bin_width, length=length, samples=samples, batch_size=batch_size, block=block, seed=min(seeds))
    first, second = Reading(a, prefix), Reading(b, prefix)
    _ = first.start_ids, second.start_ids  # a model that has none is refused before anything is drawn
    sizes = [min(block, samples - start) for start in range(0, samples, block)]
    with counted("writing and scoring texts", 2 * samples) as bar:
        by_a = _Writer("a", first, second, length, batch_size, seeds[0]).written(sizes, store, bar.advance)
        by_b = _Writer("b", second, first, length, batch_size, seeds[1]).written(sizes, store, bar.advance)
    return TextComparison.of(
        first,
        second,
        (by_a, by_b),
        length=length,
        seeds=seeds,
        bin_width=bin_width,
        replicates=replicates,
        level=level,
    )


@dataclass(frozen=True)
class _Writer:
    """Draws from one model (``own``) and has both score what can be compared."""

    side: Side
    own: Reading
    other: Reading
    length: int
    batch_size: int
    seed: int

    def written(self, sizes: list[int], store: Store | None, advance: Callable[[int], None]) -> Written:
        """The texts of all blocks, and how many draws were left out for each reason."""
        rows: list[TextRow] = []
        dropped = dict.fromkeys(REASONS, 0)
        for number, size in enumerate(sizes):
            # The name holds everything that a block depends on.
            models = [reading.loaded.identity for reading in (self.own, self.other)]
            settings = (self.own.prefix, self.length, size, self.batch_size, self.seed)
            part = part_name(f"texts-{self.side}-{number}", models, *settings)
            arrays = kept(store, part, partial(self._block, number, size))
            rows += self._rows(arrays)
            for reason, count in zip(REASONS, arrays["dropped"].tolist(), strict=True):
                dropped[reason] += count
            advance(size)
        return rows, dropped

    def _block(self, number: int, size: int) -> Arrays:
        """``size`` draws: what was left out, and the compared texts with the NLL of their writer and of the other."""
        drawn = sample(
            self.own.loaded,
            None if self.own.prefix is None else [self.own.prefix],
            num_samples=size,
            max_new_tokens=self.length,
            seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
            batch_size=self.batch_size,
            stop_ids=[],
        )
        dropped: Counter[str] = Counter()
        texts: list[str] = []
        for ids in drawn.sequences:
            text, reason = self._comparable(ids)
            if reason is None:
                texts.append(text)
            else:
                dropped[reason] += 1
        encoded = [text.encode() for text in texts]
        return {
            # Bytes and not text arrays, which lose zero characters at the end.
            "text": np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(),
            "bytes_N": np.array([len(content) for content in encoded], dtype=np.int64),
            "own_N": self.own.nll(texts, self.batch_size),
            "other_N": self.other.nll(texts, self.batch_size),
            "dropped": np.array([dropped[reason] for reason in REASONS], dtype=np.int64),
        }

    def _comparable(self, ids: list[int]) -> tuple[str, str | None]:
        """The text to compare, or why there is none."""
        text, reason = self.own.canonical(ids)
        if reason is not None:
            return text, reason
        text = self.own.shortened(text, ids)
        if not text:
            return text, EMPTY
        return text, None if self.other.encoded(text) is not None else READ_DIFFERENTLY

    def _rows(self, arrays: Arrays) -> list[TextRow]:
        ends = np.cumsum(arrays["bytes_N"]).tolist()
        whole = arrays["text"].tobytes()
        texts = [whole[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
        own, other = arrays["own_N"].tolist(), arrays["other_N"].tolist()
        nll_a, nll_b = (own, other) if self.side == "a" else (other, own)
        return [
            TextRow(text=text, bytes=len(text.encode()), nll_a=of_a, nll_b=of_b, side=self.side)
            for text, of_a, of_b in zip(texts, nll_a, nll_b, strict=True)
        ]


def _check(bin_width: float, **counts: int) -> None:
    least = {"length": 2, "seed": 0}  # of one token nothing is left after the cut
    for name, value in counts.items():
        if value < least.get(name, 1):
            raise UsageError(f"{name} must be {least.get(name, 1)} or more, got {value}.")
    if not bin_width > 0:
        raise UsageError(f"bin_width must be above 0 nats per byte, got {bin_width}.")
