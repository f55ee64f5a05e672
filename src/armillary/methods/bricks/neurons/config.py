"""Settings of a profile of neurons; importable without torch."""

from dataclasses import dataclass

from armillary.errors import UsageError

LEAST_TEXTS = 20
"""Texts that a capability needs at least: average precision of fewer says nothing."""


CAPABILITIES = ("code", "mathematics", "translation", "german", "knowledge", "writing")
"""What is told apart where nothing else is named. The paper's seven come from a set of instructions that is not at
hand."""


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """How texts are read for a profile. Defaults are ours where the paper names none."""

    max_tokens: int = 128
    """Texts are cut after so many tokens."""

    tokens_per_batch: int = 2048
    """Padded tokens read together; changes speed and memory, not results."""

    skip: int = 1
    """Tokens left out at the beginning of each text: the first position is an attention sink whose activations are
    huge and say nothing of the text."""

    chunk: int = 64
    """Texts whose statistics are kept as one part of a run that may be killed."""

    detail_texts: int | None = 50
    """Texts of each capability from which histograms and firing are counted, the first ones; None counts all."""

    bins: int = 50
    """Bins of the histogram of indicators between 0 and 1."""

    firing_share: float = 0.2
    """A neuron fires at a token when it is within this share of the largest output magnitudes of the token."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "tokens_per_batch", "chunk", "bins"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.skip < self.max_tokens:
            raise UsageError(f"skip must be 0 or more and less than max_tokens = {self.max_tokens}, got {self.skip}.")
        if self.detail_texts is not None and self.detail_texts < 1:
            raise UsageError(f"detail_texts must be 1 or more, or None for all; got {self.detail_texts}.")
        if not 0 < self.firing_share < 1:
            raise UsageError(f"firing_share must lie between 0 and 1, got {self.firing_share}.")
