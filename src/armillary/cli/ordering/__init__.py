"""``armillary ordering ACTION``: is each step's support to its left, in your data and in training."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("audit", "Count steps that stand before what supports them, and show and write a better order.",
            "ordering.audit"),
    Command("train", "Train models that differ in nothing but order, on your data or a task, and compare them.",
            "ordering.train"),
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("ordering", "The order of the steps inside a sample: audits and training.", ACTIONS, arguments)
