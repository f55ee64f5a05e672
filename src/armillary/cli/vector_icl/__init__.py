"""``armillary vector-icl ACTION``: a language model that learns in context from vectors of your own."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("fit", "Fit a projector for your vectors and measure it on held-out rows.", "vector_icl.fit"),
    Command("predict", "Predict for new vectors by what a fit left.", "vector_icl.predict"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action(
        "vector-icl", "A language model learns in context from the vectors of any encoder.", ACTIONS, arguments
    )
