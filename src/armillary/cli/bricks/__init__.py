"""``armillary bricks ACTION``: functional parts of a model found, split, routed, merged, edited, grown and kept."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

PURPOSE = "Bricks: the functional parts of a model, found in it or added to it (docs/methods/bricks.md)."
ACTIONS = (
    Command("profile", "Which neurons tell a capability, and what the model loses without them.", "bricks.profile"),
    Command("partition", "Split every feed-forward block into experts.", "bricks.partition"),
    Command("route", "Run a model with some of its experts at a token.", "bricks.route"),
    Command("sparsify", "Leave out small inputs of every matrix at a token.", "bricks.sparsify"),
    Command("merge", "Join adapters, or whole models, into one.", "bricks.merge"),
    Command("edit", "Change facts, and tell what else changed.", "bricks.edit"),
    Command("grow", "Make a model larger without changing what it says.", "bricks.grow"),
    Command("library", "Keep bricks in a folder, and find the one that fits a text.", "bricks.library"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("bricks", PURPOSE, ACTIONS, arguments)
