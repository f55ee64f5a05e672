"""Parallel tempering in the place of plain sampling: draws at several whole-sequence temperatures as a source.

Worth its price where plain draws hardly reach the window: far above the typical NLL at greater lengths, or far below.
"""

from dataclasses import dataclass
from typing import Any

from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.protocols import Draws, Floats, Scorer, Tokens
from armillary.methods.modeldiff.source import ModelSource
from armillary.methods.modeldiff.tempering import parallel_tempering
from armillary.methods.modeldiff.tempering_ladder import TemperedModel
from armillary.models.loaded import LoadedModel


@dataclass(frozen=True, kw_only=True)
class TemperedSource:
    """Draws by parallel tempering, scores by ``scorer``; a ``Source`` for ``compare``."""

    scorer: Scorer
    model: TemperedModel
    length: int
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    chains: int = 64
    sweeps: int = 400
    burn_in: int = 100

    @classmethod
    def of(
        cls, loaded: LoadedModel, space: InputSpace, config: CompareConfig | None = None, **settings: Any
    ) -> "TemperedSource":
        """A loaded model over ``space``; ``settings`` are the fields above. Raises UsageError like ``ModelSource``."""
        from armillary.methods.modeldiff.tempering_model import LoadedTempered

        plain = ModelSource.of(loaded, space, config or CompareConfig())
        model = LoadedTempered(loaded, plain.prefix, banned_ids=plain.banned)
        return cls(scorer=plain, model=model, length=space.length, **settings)

    def sample(self, n: int, *, seed: int) -> Draws:
        """Draws of one run of the ladders, as many as it gives after thinning; ``n`` does not change that.

        Raises NumericError where the chains did not mix.
        """
        found = parallel_tempering(
            self.model,
            length=self.length,
            temperatures=self.temperatures,
            chains=self.chains,
            sweeps=self.sweeps,
            burn_in=self.burn_in,
            seed=seed,
        )
        draws = found.draws()
        return Draws(
            ids_NL=draws.ids_NL,
            log_q_KN=draws.log_q_KN,
            rung_N=draws.rung_N,
            nll_N=draws.nll_N,
            unit_N=found.chain_N,
        )

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats) of each sequence."""
        return self.scorer.score(ids_NL)
