"""Tell which steps of a worked solution stand before what they need, and write it in an order that a model can learn.

    python examples/ordering.py

No model and no download.
"""

from armillary.methods.ordering import Reorder, Sample, Step, find_order_issues, metrics, order

SOLUTION = Sample(
    prompt="A tank holds 240 litres and loses 3 litres an hour; a pump adds 15. When is it full, from 60 litres on?",
    steps=(
        Step("answer", "It is full after 180 / 12 = 15 hours.", deps=("missing", "gain")),
        Step("gain", "Each hour the tank gains 15 - 3 = 12 litres."),
        Step("missing", "There are 240 - 60 = 180 litres missing."),
        Step("check", "After 15 hours 15 * 12 = 180 litres were added, as they should be.", deps=("answer", "gain")),
    ),
)
"""Written as solutions often are: the answer first, the reasons behind it."""


def main() -> None:
    """Print the steps that come too early, the metrics of each order, and rows for training."""
    for step, support in find_order_issues(SOLUTION):
        print(f"{step.text!r} stands before {support.text!r}")

    print(f"\n{'order':10} {'VF':>5} {'lag':>5} {'tau':>5}")
    for name in ("as written", "seq", "bfs", "reversed", "random"):
        written = SOLUTION if name == "as written" else order(SOLUTION, name, seed=1)
        measured = metrics(written)
        print(f"{name:10} {measured.vf:5.2f} {measured.lag:5.2f} {measured.tau:5.2f}")

    # The same as a row of a file, as datasets.Dataset.map hands it on: dataset.map(Reorder(order="seq"), num_proc=4).
    places = {step.id: place for place, step in enumerate(SOLUTION.steps)}
    row = {
        "prompt": SOLUTION.prompt,
        "steps": [step.text for step in SOLUTION.steps],
        "deps": [[places[name] for name in step.deps] for step in SOLUTION.steps],
    }
    print(f"\n{Reorder(order='seq')(row)['completion']}")


if __name__ == "__main__":
    main()
