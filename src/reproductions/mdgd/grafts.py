"""What small models answer about the same test images, and what one answers from another's image states (grafts).

In a causal decoder with the image first, keys and values of the image's positions depend on the image and the weights
alone. So one model can compute them (the eyes) and another of the same shape answer from them (the reader), exactly
and without a fit. New eyes with the old reader lose what became illegible in the image states; old eyes with the new
reader lose what only the way of answering has forgotten.

Shapes: P images, N image tokens, S tokens of a question, C choices, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache

from armillary.data.images.questions import ImageExample
from armillary.methods.mdgd import visual_hidden_states
from armillary.models.vision import find_vision_anatomy
from reproductions.images.dataset import MEDIA, ImageDataset, most_frequent
from reproductions.mdgd.scale import OLD_TASKS, PURELY_VISUAL, TARGET, Task

Accuracies = dict[str, float]
"""Task -> share of right answers."""


@dataclass(frozen=True, eq=False)
class Quiz:
    """One question of every task about each of the same test images, put into tensors once."""

    dataset: ImageDataset
    images: int
    """At most so many, of those that every task can be asked of (half have no dominant colour)."""

    seed: int

    @cached_property
    def examples(self) -> dict[Task, list[ImageExample]]:
        """By task; the images are in one order."""
        return self._about("test", self.images)

    def _about(self, split: str, limit: int) -> dict[Task, list[ImageExample]]:
        by_key = {
            task: {self.dataset.key(e): e for e in self.dataset.examples(task, split, seed=self.seed)}
            for task in (*OLD_TASKS, TARGET)
        }
        common = [key for key in by_key["colour"] if all(key in examples for examples in by_key.values())]
        return {task: [examples[key] for key in common[:limit]] for task, examples in by_key.items()}

    @cached_property
    def majority(self) -> Accuracies:
        """What the most frequent answer would score."""
        return {task: most_frequent(examples) for task, examples in self.examples.items()}

    def prefix(self, examples: Sequence[ImageExample]) -> dict[str, Tensor]:
        """The image tokens of these examples and nothing behind them: ``[P, N]`` ids and their pixel values."""
        keys = [self.dataset.key(example) for example in examples]
        ids_PN = torch.full((len(keys), self.dataset.media_tokens), MEDIA)
        return {"input_ids": ids_PN, "pixel_values": self.dataset.media(keys)["pixel_values"]}

    @cached_property
    def prefix_of_images(self) -> dict[str, Tensor]:
        """That of the quiz's own images."""
        return self.prefix(self.examples[TARGET])

    @cached_property
    def _asked(self) -> dict[Task, tuple[Tensor, Tensor, Tensor]]:
        """By task: the question's tokens ``[S]``, each choice's first token ``[C]``, the right choice ``[P]``."""
        questions: dict[Task, tuple[Tensor, Tensor, Tensor]] = {}
        for task, examples in self.examples.items():
            question, choices = examples[0].question, examples[0].choices or ()
            if any((example.question, example.choices) != (question, choices) for example in examples):
                raise ValueError(f"the task {task!r} asks several questions; a quiz has one for all images.")
            first = torch.tensor([self.dataset.tokens(choice)[0] for choice in choices])
            right = torch.tensor([choices.index(example.answer) for example in examples])
            questions[task] = torch.tensor(self.dataset.tokens(question)), first, right
        return questions

    @torch.inference_mode()
    def seen(self, eyes: nn.Module) -> Cache:
        """Keys and values of every image's positions by one model's weights."""
        outputs = cast(Any, eyes)(**self.prefix_of_images, use_cache=True, logits_to_keep=1)
        return cast(Cache, outputs.past_key_values)

    @torch.inference_mode()
    def answers(self, reader: nn.Module, seen: Cache, tasks: Sequence[Task] = (*OLD_TASKS, TARGET)) -> Accuracies:
        """Share of the images of which a model answers rightly from these image states; ``seen`` stays as it was.

        A question is answered by the choice whose first token is the most probable.
        """
        right: Accuracies = {}
        for task in tasks:
            question_S, choices_C, right_P = self._asked[task]
            ids_PS = question_S.expand(len(right_P), -1)
            logits_PV = cast(Any, reader)(input_ids=ids_PS, past_key_values=seen, logits_to_keep=1).logits[:, -1]
            seen.crop(-len(question_S))
            right[task] = float((logits_PV[:, choices_C].argmax(1) == right_P).float().mean())
        return right

    def read_outs(self, model: nn.Module) -> dict[str, list[float]]:
        """By task: accuracy of a linear read-out of the mean image state of each layer but the last, test images.

        Fitted anew to each model: what the states still tell, whatever the answers have become.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train, test = self._training, self.examples
        train_LPD, test_LPD = (self._pooled(model, examples[TARGET]) for examples in (train, test))
        accuracies: dict[str, list[float]] = {}
        for task in PURELY_VISUAL:
            answers, right = [e.answer for e in train[task]], [e.answer for e in test[task]]
            # A smaller C holds the read-out back where a layer has more dimensions than the images can fix.
            reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.1))
            accuracies[task] = [
                float(reader.fit(x_PD, answers).score(y_PD, right))
                for x_PD, y_PD in zip(train_LPD, test_LPD, strict=True)
            ]
        return accuracies

    @cached_property
    def _training(self) -> dict[Task, list[ImageExample]]:
        return self._about("train", 2 * self.images)

    @torch.no_grad()
    def _pooled(self, model: nn.Module, examples: Sequence[ImageExample]) -> list[np.ndarray]:
        anatomy = find_vision_anatomy(model)
        layers = range(max(1, anatomy.num_layers - 1))
        states_L = visual_hidden_states(model, self.prefix(examples), layers, anatomy)
        return [x.view(len(examples), self.dataset.media_tokens, -1).mean(1).double().numpy() for x in states_L]
