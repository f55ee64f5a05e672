"""What the stages of the Vector-ICL reproduction share: projectors, which are trained once and kept, and null ones.

Legend: N inputs, E encoder width.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import Kind, Norm, TrainingConfig
from armillary.methods.vector_icl.embedding import TokenStatistics, token_statistics
from armillary.methods.vector_icl.projector import Projector, new_projector
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.models import LoadedModel
from armillary.models.loading import load
from armillary.runs.parts import Parts
from reproductions.vector_icl.scale import Scale, Training

Train = Callable[..., TrainingCurve]
"""A function of ``projector_fit`` with its targets given; called with model, projector, vectors and ``config``."""

VECTORS, SHUFFLED, TEXT, SOFT = "vectors", "shuffled", "text", "soft prompt"
RANDOM, NEIGHBOUR = "random projector", "1-NN"
"""Arms that several rows have: what stands in the slots or what is exchanged, and what needs no language model."""

_LOSSES = "losses"


@dataclass(frozen=True, eq=False)
class Trained:
    """A projector after its training."""

    projector: Projector
    losses: list[float]
    """Nats a learned token before each step."""


@dataclass(frozen=True, eq=False)
class Context:
    """One language model at one scale. What is slow is computed once and kept as parts of the run."""

    loaded: LoadedModel
    scale: Scale
    seed: int
    parts: Parts
    tokens: TokenStatistics

    @classmethod
    def of(cls, loaded: LoadedModel, scale: Scale, seed: int, parts: Parts) -> "Context":
        return cls(loaded, scale, seed, parts, token_statistics(loaded))

    @property
    def seeds(self) -> list[int]:
        """Of the rows that have several projectors."""
        return [self.seed + offset for offset in range(self.scale.seeds)]

    @cached_property
    def in_training(self) -> LoadedModel:
        """The same frozen model in bfloat16, which the paper trains through: twice as fast. All reading afterwards is
        in the model's own dtype."""
        if self.loaded.dtype != torch.float32:
            return self.loaded
        model = copy.deepcopy(self.loaded.model).to(dtype=torch.bfloat16)  # type: ignore[call-arg]
        return load((model, self.loaded.tokenizer))

    def new_projector(
        self,
        vectors: Vectors,
        *,
        kind: Kind = "linear",
        norm: Norm = "match",
        start_texts: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> Projector:
        """A projector for vectors like these; with ``start_texts`` (one a vector) it begins with the centred ridge."""
        table_NE = torch.as_tensor(np.asarray(vectors, dtype=np.float32))
        seed = self.seed if seed is None else seed
        return new_projector(
            self.loaded, table_NE, kind=kind, norm=norm, seed=seed, texts=start_texts, tokens=self.tokens
        ).eval()

    def blind_projector(self, vectors: Vectors, seed: int) -> Projector:
        """A random one, of another seed than the trained ones began with."""
        return self.new_projector(vectors, seed=seed + 1000)

    @torch.no_grad()
    def soft_prompt(self) -> Projector:
        """One slot for all inputs (of ``constant`` vectors), which begins with the mean token embedding."""
        projector = Projector(1, self.loaded.anatomy.embedding.embedding_dim)
        projector.into.weight.copy_(self.tokens.mean_D[:, None])
        return projector.to(self.loaded.device).eval()

    def trained(
        self,
        name: str,
        start: Callable[[], Projector],
        vectors: Vectors,
        train: Train,
        training: Training,
        *,
        seed: int | None = None,
    ) -> Trained:
        """The projector after training; trained once and kept by name."""
        projector = start().copy()
        table_NE = torch.as_tensor(np.asarray(vectors, dtype=np.float32))
        even = training.pack is None or training.pack[0] == training.pack[1]
        config = TrainingConfig(
            # Where sequences differ in length, a third of the time would go to padding.
            tokens_per_batch=TrainingConfig.tokens_per_batch if even else 128,
            steps=training.steps,
            batch_size=training.batch,
            pack=training.pack,
            learning_rate=training.rate,
            patience=None,
            clip=1.0,
            seed=self.seed if seed is None else seed,
        )

        def compute() -> dict[str, NDArray[Any]]:
            curve = train(self.in_training, projector, table_NE, config=config)
            weights = {key: value.detach().cpu().numpy() for key, value in projector.state_dict().items()}
            return weights | {_LOSSES: np.array(curve.losses)}

        kept = dict(self.parts.arrays(f"projector {name}", compute))
        losses: list[float] = kept.pop(_LOSSES).tolist()
        projector.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in kept.items()})
        return Trained(projector.to(self.loaded.device).eval(), losses)


def constant(vectors: Vectors) -> Vectors:
    """Vectors for a soft prompt: every input is the same, so that only one slot can be learned."""
    return np.ones((len(vectors), 1), dtype=np.float32)
