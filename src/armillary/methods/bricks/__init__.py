"""Bricks: the functional parts of a language model, found inside it or added to it; route, merge, update, grow them.

"Configurable Foundation Models: Building LLMs from a Modular Perspective", Xiao and others, 2024, arXiv 2409.02877.
Public names stand in the modules, such as ``armillary.methods.bricks.profile``; ``CARD`` is the method's card.
"""

from armillary.cards import BRICKS as CARD

__all__ = ["CARD"]
