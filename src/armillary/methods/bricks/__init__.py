"""Bricks: the functional parts of a language model, found inside it or added to it; route, merge, update, grow them.

"Configurable Foundation Models: Building LLMs from a Modular Perspective", Xiao and others, 2024, arXiv 2409.02877.
The main names stand here, all others in the rooms: ``neurons`` (found), ``experts`` (routed), ``sparsity`` (small
inputs left out), ``merging``, ``editing``, ``growth`` and ``library`` (kept and mounted). Names resolve lazily, so
that settings can be read without torch.
"""

import lazy_loader

from armillary.cards import BRICKS as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
