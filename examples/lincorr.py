"""Does one linear map carry "lives in the city of" to "lives in the country of"? Which countries does it get right?

    python examples/lincorr.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import sys

import armillary


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print how well the map fits, beside its nulls, and where its weights point."""
    loaded = armillary.load(model)
    result = armillary.lincorr(loaded, "city-country", armillary.LinCorrConfig(n=400))
    for name, interval in result.intervals().items():
        print(f"{name:16} {interval.estimate:6.3f}  [{interval.low}, {interval.high}]  {interval.how}")
    for example in result.examples[:5]:
        word, weight = example.top[0]
        print(f"{example.source} -> {word} ({weight:+.3f}); right: {', '.join(example.gold)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
