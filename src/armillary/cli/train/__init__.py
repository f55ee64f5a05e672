"""``armillary train ACTION``: image-text models trained, from a connector onwards."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("connector", "Give a language model eyes: train the connector to a vision tower.", "train.connector"),
    Command("mdgd", "Tune an image-text model while its image states stay where they were.", "train.mdgd"),
    Command("commit", "Tune an image-text model with encoder and language model in balance.", "train.commit"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("train", "Train image-text models.", ACTIONS, arguments)
