"""Which neurons are specialised for code or prose, and what does the model lose without them?

    python examples/bricks.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import sys

import armillary
from armillary.data import equal_capability_texts
from armillary.methods.bricks import ablate, functional_scores, profile, random_like, specialised


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print the rise of the loss without each capability's best 5 % of neurons, and without as many by lot."""
    loaded, names = armillary.load(model), ("code", "writing")
    scores = functional_scores(profile(loaded, equal_capability_texts(names, limit=24)))
    sets = {name: specialised(scores.of(name), 0.05) for name in names}
    sets["random"] = random_like(sets["code"], loaded.anatomy.intermediate_size, seed=0)
    table = ablate(loaded, sets, equal_capability_texts(names, split="test", limit=8))
    for row in sets:
        print(f"without {row}:", *(f"{on} {table.effect(row, on).delta_nll.estimate:+.3f} nats;" for on in names))


if __name__ == "__main__":
    main(*sys.argv[1:])
