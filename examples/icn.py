"""Which answers does a model know beyond its first ones? Navigated, beside the plain ranking at the same number.

    python examples/icn.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import sys

import armillary
from armillary.data import Matcher, probe


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print both lists of answers with how many are right."""
    loaded, asked = armillary.load(model), probe("european-countries")
    matcher = Matcher(asked, "prefix")
    for name, navigate in (("navigation", True), ("static ranking", False)):
        navigator = armillary.Navigator(loaded, rounds=6, per_round=4, max_new_tokens=12, navigate=navigate)
        found = navigator.explore(asked.instruction)
        score = found.score(matcher.match)
        print(f"{name}: {score.distinct_correct} different right answers of {score.answers}")
        print("  " + ", ".join(found.distinct))


if __name__ == "__main__":
    main(*sys.argv[1:])
