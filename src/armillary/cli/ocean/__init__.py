"""``armillary ocean ACTION``: chains of thought checked against a graph or passages, valued offline, and aligned."""

from collections.abc import Sequence

from armillary.cli.dispatch import Command, run_action

ACTIONS = (
    Command("check", "Tell which steps of chains a graph, or passages, support or contradict.", "ocean.check"),
    Command("evaluate", "Estimate offline what a model is worth by logged chains and a graph.", "ocean.evaluate"),
    Command("align", "Tune a model towards a graph on logged chains.", "ocean.align"),
)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_action("ocean", "Chains of thought and knowledge graphs: checks, values, tuning.", ACTIONS, arguments)
