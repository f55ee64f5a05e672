"""Where does a disturbed copy of a model disagree with it? Counts, overlap, and the inputs most unlike.

    python examples/modeldiff.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import math
import sys

import armillary
from armillary.methods import modeldiff


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print what the comparison found."""
    a = armillary.load(model)
    b = modeldiff.noisy(a, 0.05, seed=0)
    space = modeldiff.InputSpace(length=8)
    comparison = modeldiff.compare(a, b, space, samples=256, pilot=128, weighting="profile")
    for name, value in comparison.table():
        print(f"{name}: {value}")
    for example in comparison.examples((-math.inf, 0), k=3):
        print(f"{example.difference:+.1f} nats: {example.text!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
