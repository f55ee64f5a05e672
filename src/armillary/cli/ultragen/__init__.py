"""``armillary ultragen ACTION``: texts to prompts of many attributes, and responses checked against them."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("derive", "Read off each text what it has, and write prompts that state it.", "ultragen.derive"),
    Command("check", "Check responses against the attributes of their prompts, and show where they fail.",
            "ultragen.check"),
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """The command."""
    purpose = "Texts under tens of attributes at once: data, checks and training."
    return run_action("ultragen", purpose, ACTIONS, arguments)
