"""A frozen language model tells apart two clouds of points that it has never seen as text.

    python examples/vector_icl.py

The model is tiny and random, so that this runs in seconds without a download: the path is the point, not the accuracy.
With lm="smollm2-135m-instruct" it takes minutes; the words of the classes then mean something.
"""

import numpy as np

from armillary.methods.vector_icl import TrainingConfig, VectorICLClassifier


def main() -> None:
    """Print the accuracy on new points with right demonstrations, and the probabilities of one point."""
    generator = np.random.default_rng(0)
    sides = generator.integers(0, 2, size=80)
    points = generator.normal(size=(80, 8)) + 3 * sides[:, None]
    words = np.where(sides == 1, "right", "left")
    classifier = VectorICLClassifier(
        "tiny-llama",
        shots=4,
        norm="match",
        training=TrainingConfig(steps=40, batch_size=16, pack=(4, 12), learning_rate=1e-2),
    )
    classifier.fit(points[:60], words[:60])
    print(f"accuracy on 20 new points: {classifier.score(points[60:], words[60:]):.2f}")
    chances = classifier.predict_proba(points[60:61])[0]
    print("one point: " + ", ".join(f"{name} {p:.2f}" for name, p in zip(classifier.classes_, chances, strict=True)))


if __name__ == "__main__":
    main()
