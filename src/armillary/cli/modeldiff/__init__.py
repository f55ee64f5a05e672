"""``armillary modeldiff A B``: where two models disagree; ``modeldiff lineage A B``: do they share an origin."""

from collections.abc import Sequence

from armillary.cli.modeldiff import compare, lineage

JOBS = {**compare.JOBS, **lineage.JOBS}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    # A word, not a nested command of the parser: the positional A would else be taken for it.
    if arguments and arguments[0] == "lineage":
        return lineage.run(arguments[1:])
    return compare.run(arguments)
