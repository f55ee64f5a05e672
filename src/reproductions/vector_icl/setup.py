"""What the stages of the Vector-ICL reproduction share: projectors, which are trained once and kept, and null ones.

Legend: N inputs, E encoder width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import Kind, Norm, TrainingConfig
from armillary.methods.vector_icl.core import idf_weights
from armillary.methods.vector_icl.embedding import TokenStatistics, mean_embeddings, token_statistics
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.prompts import text_ids
from armillary.methods.vector_icl.training import TrainingCurve
from armillary.models import LoadedModel
from armillary.runs.parts import Parts
from reproductions.vector_icl.data.glosses import Gloss
from reproductions.vector_icl.scale import TOPICS, Scale, Training

Payload = dict[str, Any]

Train = Callable[[Projector, Tensor, TrainingConfig], TrainingCurve]


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
        projector = Projector(
            table_NE.shape[1],
            self.loaded.anatomy.embedding.embedding_dim,
            kind=kind,
            norm=norm,
            seed=self.seed if seed is None else seed,
        )
        if start_texts is None:
            projector.fit_scale(table_NE, self.tokens)
        else:
            rows = [text_ids(self.loaded, text) for text in start_texts]
            projector.start_from_ridge(table_NE, mean_embeddings(self.loaded, rows, idf_weights(rows)), self.tokens)
        return projector.to(self.loaded.device).eval()

    @torch.no_grad()
    def soft_prompt(self) -> Projector:
        """One box for all inputs (of ``constant`` vectors), which begins with the mean token embedding."""
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
    ) -> tuple[Projector, list[float]]:
        """The projector after training by ``train`` and its loss before each step; trained once and kept by name."""
        projector = start().copy()
        table_NE = torch.as_tensor(np.asarray(vectors, dtype=np.float32))

        def compute() -> dict[str, NDArray[Any]]:
            config = self.config(training, self.seed if seed is None else seed)
            curve = train(projector, table_NE, config)
            weights = {key: value.detach().cpu().numpy() for key, value in projector.state_dict().items()}
            return {**weights, "losses": np.array(curve.losses)}

        kept = dict(self.parts.arrays(f"projector {name}", compute))
        losses = [float(loss) for loss in kept.pop("losses")]
        projector.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in kept.items()})
        return projector.to(self.loaded.device).eval(), losses

    @staticmethod
    def config(training: Training, seed: int) -> TrainingConfig:
        """Of a training of so many steps; the decay is the paper's of the text tasks."""
        return TrainingConfig(
            steps=training.steps,
            batch_size=training.batch,
            pack=training.pack,
            learning_rate=training.rate,
            patience=None,
            clip=1.0,
            seed=seed,
        )


def constant(vectors: Vectors) -> Vectors:
    """Vectors for a soft prompt: every input is the same, so that only one box can be learned."""
    return np.ones((len(vectors), 1), dtype=np.float32)


# Made-up texts and molecules in place of real ones: for the quick preset and tests, without a download. [derived]
#
# Legend: N inputs, E encoder width.

_WORDS = {
    "animal": ("dog", "horse", "bear", "fish", "bird", "wolf", "frog", "sheep"),
    "food": ("apple", "cherry", "lemon", "plum", "sweet", "sour", "fruit", "tastes"),
    "person": ("king", "queen", "doctor", "teacher", "friend", "child", "woman", "man"),
    "artifact": ("house", "book", "game", "music", "product", "fire", "money", "gem"),
    "location": ("city", "country", "river", "mountain", "road", "capital", "continent", "place"),
    "act": ("work", "plays", "makes", "gives", "goes", "speaks", "sees", "takes"),
}
_EACH = 30
_GROUPS = ("an alcohol", "an amine", "a ketone", "an ether", "an ester", "a nitrile")
_LETTERS = ("O", "N", "C=O", "CO", "OC=O", "C#N")
_WIDTH = 12


def synthetic_glosses() -> tuple[Gloss, ...]:
    """Thirty different texts of 6 to 9 words for each of ``TOPICS``; half of the words depend on the topic."""
    generator = np.random.default_rng(0)
    found: dict[str, Gloss] = {}
    for topic in TOPICS:
        words = _WORDS[topic]
        kept = len(found)
        while len(found) < kept + _EACH:
            first, second, third, last = (words[place] for place in generator.permutation(len(words))[:4])
            text = f"a {first} that has a {second} and {third}"
            text += f" or {last}" if generator.random() < 0.5 else ""
            found.setdefault(text, Gloss(word=first, text=text, topic=topic))
    return tuple(found.values())


def hashed_words(texts: Sequence[str], width: int = 64) -> Vectors:
    """Each word at a place and with a sign that its hash gives, summed: ``[n, width]`` float32 of unit length."""
    out = np.zeros((len(texts), width))
    for row, text in zip(out, texts, strict=True):
        for word in text.casefold().split():
            number = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
            row[(number >> 1) % width] += 1.0 if number % 2 else -1.0
    unit: Vectors = (out / np.linalg.norm(out, axis=1, keepdims=True).clip(1e-6)).astype(np.float32)
    return unit


def synthetic_molecules(count: int) -> tuple[list[str], Vectors, list[str]]:
    """Strings like SMILES, vectors ``[n, 12]`` and captions in the manner of
    ``molecule_facts``, all of which tell the same groups and length."""
    generator = np.random.default_rng(1)
    smiles, vectors, captions = [], np.zeros((count, _WIDTH), dtype=np.float32), []
    for row in vectors:
        held = sorted(generator.permutation(len(_GROUPS))[: generator.integers(1, 3)].tolist())
        length = int(generator.integers(1, 5))
        smiles.append("C" * length + "".join(f"({_LETTERS[group]})" for group in held) + "C")
        row[held] = 1.0
        row[len(_GROUPS)] = length / 4
        row[len(_GROUPS) + 1 :] = generator.normal(scale=0.1, size=_WIDTH - len(_GROUPS) - 1)
        parts = ["no ring", *(_GROUPS[group] for group in held)]
        weight = "light" if length < 3 else "heavy"
        captions.append(f" a {weight} molecule with {', '.join(parts[:-1])} and {parts[-1]}")
    return smiles, vectors, captions
