"""Settings of one check-up; importable without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CheckupConfig:
    """What is examined and how much of it."""

    model: str
    """Packaged name, folder, .gguf file or hub id of the model that is examined."""

    before: str | None = None
    """The model it came from (same forms): adds what changed between the two."""

    seed: int = 0
    """Seed of every draw: which vocabulary items fill the prompts, bootstrap resamples, cluster starts."""

    subjects: int = 1000
    """Vocabulary items that fill the slot of the prompts; half fit the linear maps, half test them."""

    texts: int = 48
    """Texts read for the layer-by-layer pictures and the prediction score, half of them from each corpus."""

    text_tokens: int = 128
    """Tokens of each text that are read."""

    clusters: int | None = None
    """Clusters into which the vocabulary keys are split; None takes one for every hundred tokens, 512 at most."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""

    def __post_init__(self) -> None:
        from armillary.errors import UsageError

        for name, least in (("subjects", 40), ("texts", 8), ("text_tokens", 8), ("clusters", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}.")
        if self.before is not None and self.before == self.model:
            raise UsageError(
                f"--before names the same model as the one examined ({self.model}); give the earlier one."
            )
