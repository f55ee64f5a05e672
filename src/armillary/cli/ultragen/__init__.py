"""``armillary ultragen ACTION``: texts to prompts of many attributes, responses checked, models trained on them."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("derive", "Read off each text what it has, and write prompts that state it.", "ultragen.derive"),
    Command("check", "Check responses against the attributes of their prompts, and show where they fail.",
            "ultragen.check"),
    Command("build", "Make training data: texts behind their attributes, and sets that no text had.",
            "ultragen.build"),
    Command("train", "Tune a model to reconstruct texts, then to prefer its better responses.", "ultragen.train"),
    Command("evaluate", "Measure how much of its prompts a model satisfies, beside the best of several.",
            "ultragen.evaluate"),
    Command("analyse", "Tell where satisfaction falls: by place, by number, and what attention does.",
            "ultragen.analyse"),
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """The command."""
    purpose = "Texts under tens of attributes at once: data, checks and training."
    return run_action("ultragen", purpose, ACTIONS, arguments)
