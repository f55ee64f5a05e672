"""``armillary icn ACTION``: the space of the vocabulary's keys, and many answers to one prompt."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("ask", "Explore many different answers to one prompt, or many ways to solve one problem.", "icn.ask"),
    Command("keys", "Draw the space of a model's vocabulary keys: which tokens lie together.", "icn.keys"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    purpose = "In-context navigation: what a model's vocabulary keys look like, and how to get past them."
    return run_action("icn", purpose, ACTIONS, arguments)
