"""The dispatcher: finds the command, imports its file, and nothing else, so that help answers at once."""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import armillary
from armillary.cli.console import guarded
from armillary.errors import UsageError


@dataclass(frozen=True)
class Command:
    """A word after ``armillary`` and the module of this folder that has its ``run(arguments) -> exit code``."""

    name: str
    summary: str
    module: str


COMMANDS = (
    Command("checkup", "Look inside a model and leave a report: the main job.", "checkup"),
    Command("lincorr", "Fit the linear map between two relations' next-token logits.", "lincorr"),
    Command("icn", "Explore many answers to one prompt, or the space of the vocabulary's keys.", "icn"),
    Command("modeldiff", "Find the inputs on which two models disagree, and by how much.", "modeldiff"),
    Command("bricks", "Find, split, route, merge, edit and grow a model's functional parts.", "bricks"),
    Command("vector-icl", "Let a language model learn in context from your vectors, and predict.", "vector_icl"),
    Command("train", "Train image-text models: a connector, or a tuning that does not forget.", "train"),
    Command("reproduce", "Run a paper's claims at a preset and judge each.", "reproduce"),
    Command("models", "List the packaged models, or fetch one.", "models"),
    Command("data", "List the picture and text data, or fetch the emoji pictures.", "data"),
    Command("report", "Draw the report of a record again.", "report"),
    Command("replay", "Run a record again and compare what comes out.", "replay"),
    Command("list", "List the methods.", "list"),
    Command("show", "Show one method: paper, claim, commands, measured verdicts.", "show"),
)

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What the libraries below read when they are imported: no telemetry, and no bars beside our own."""


def overview() -> str:
    """The text of ``armillary --help``."""
    width = max(len(command.name) for command in COMMANDS)
    rows = "\n".join(f"  {command.name:{width}}  {command.summary}" for command in COMMANDS)
    return (
        "usage: armillary COMMAND [options]\n\n"
        "Look inside language models, compare them, steer them and tune them.\n\n"
        f"commands:\n{rows}\n\n"
        "`armillary COMMAND --help` tells its options. Start with `armillary checkup smollm2-135m-instruct`."
    )


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` begin with; its exit code."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview())
        return 0
    if name in ("-V", "--version"):
        print(f"armillary {armillary.__version__}")
        return 0
    modules = {command.name: command.module for command in COMMANDS}
    if name not in modules:
        near = get_close_matches(name, modules, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"accepted: {', '.join(modules)}."
        raise UsageError(f"There is no command {name!r}; {hint}")
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    run = importlib.import_module(f"armillary.cli.{modules[name]}").run
    return int(run(rest))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command line: 0 done, 1 a check failed or we did, 2 wrong usage, 130 stopped."""
    return guarded(dispatch, sys.argv[1:] if arguments is None else arguments)
