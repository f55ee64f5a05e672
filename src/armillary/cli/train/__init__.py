"""``armillary train ACTION``: language models tuned on text, image-text models trained from a connector onwards."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("text", "Tune a language model on rows of text, with an adapter or with all its weights.", "train.text"),
    Command("connector", "Give a language model eyes: train the connector to a vision tower.", "train.connector"),
    Command("mdgd", "Tune an image-text model while its image states stay where they were.", "train.mdgd"),
    Command("commit", "Tune an image-text model with encoder and language model in balance.", "train.commit"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("train", "Tune a language model on text, or an image-text model on images.", ACTIONS, arguments)
