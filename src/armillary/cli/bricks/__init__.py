"""``armillary bricks ACTION``: one file an action."""

from armillary.cli.bricks.command import again, run

__all__ = ["again", "run"]
