"""Two models with different tokenizers, compared on text: each writes, both score, and the unit is the byte.

Token sequences of different vocabularies can't be counted against one another, so this mode gives no counts and no
weights (arXiv 2412.12177 compares models of one vocabulary; comparing on canonical texts is ours).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.reading import EMPTY, READ_DIFFERENTLY, REASONS, Reading
from armillary.methods.modeldiff.source import vocabulary_hash
from armillary.methods.modeldiff.text_result import TextComparison, TextRow, Written
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept, part_name
from armillary.scoring import sample


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
            models = [
                (reading.loaded.fingerprint, vocabulary_hash(reading.loaded.tokenizer))
                for reading in (self.own, self.other)
            ]
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
