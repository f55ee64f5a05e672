"""Which neurons serve code, and what does switching them off cost code and prose, beside as many others by lot?

    python examples/bricks.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import sys

import armillary
from armillary.data import equal_capability_texts
from armillary.methods.bricks.knockout import knock_out
from armillary.methods.bricks.profile import profile
from armillary.methods.bricks.scores import functional_scores
from armillary.methods.bricks.sets import random_like, specialised


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print what each set of neurons costs each capability."""
    loaded, names = armillary.load(model), ("code", "knowledge")
    seen = profile(loaded, equal_capability_texts(names, limit=20))
    code = specialised(functional_scores(seen).of("code"))
    sets = {"neurons of code": code, "as many by lot": random_like(code, seen.width, seed=0)}
    table = knock_out(loaded, sets, equal_capability_texts(names, split="test", limit=4))
    for row, chosen in sets.items():
        for name in names:
            rise = table.effect(row, name).delta_nll
            print(f"{row} ({chosen.size}) off: {name} {rise.estimate:+.3f} [{rise.lower:+.3f}, {rise.upper:+.3f}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
