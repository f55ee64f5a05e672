"""One model's way between tokens and text, for models with different tokenizers.

Which token sequences are the tokenizer's own reading of their text, where such a text may be cut, and how surprising a
text is to the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import NumericError, UsageError
from armillary.models import LoadedModel
from armillary.models.batches import pad, padded_batches
from armillary.models.prompts import bare_ids, frame, shared_prefix
from armillary.scoring import token_nll

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
        if self.prefix is not None and self._text(self._prefix_ids) != self.prefix:
            raise UsageError(f"The tokenizer of {self.loaded.name} does not give the prefix {self.prefix!r} back.")
        return list(shared_prefix([self.loaded], self.prefix).ids)

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
        ids = bare_ids(self.loaded.tokenizer, [whole])[0]
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
        room = self.loaded.max_positions
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
        return bare_ids(self.loaded.tokenizer, [self.prefix or ""])[0]

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
            pieces = whole.word_ids(0)[frame(self.loaded.tokenizer).kept[0] + len(self._prefix_ids) :]
            return [end for end in range(1, len(ids)) if pieces[end] != pieces[end - 1]]
        heads = [(end, self._head(ids, end)) for end in range(1, len(ids))]
        return [end for end, head in heads if text.startswith(head) and text[len(head) : len(head) + 1].isspace()]
