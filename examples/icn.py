"""Which answers does a model know beyond its first ones? Navigated, beside the plain ranking at the same number.

    python examples/icn.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download. The right answers are those of a probe that
ICN's reproduction asks, so this wants a checkout.
"""

import sys

import armillary
from reproductions.icn.probes.probe import Matcher
from reproductions.icn.probes.shipped import probe


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print both lists of answers with how many are right."""
    loaded, question = armillary.load(model), probe("european-countries")
    matcher = Matcher(question, "prefix")
    for name, navigate in (("navigation", True), ("static ranking", False)):
        navigator = armillary.Navigator(loaded, rounds=6, per_round=4, max_new_tokens=12, navigate=navigate)
        exploration = navigator.explore(question.instruction)
        score = exploration.score(matcher.match)
        print(f"{name}: {score.distinct_correct} different right answers of {score.answers}")
        print("  " + ", ".join(exploration.distinct))


if __name__ == "__main__":
    main(*sys.argv[1:])
