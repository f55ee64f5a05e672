"""CoMMIT: measure how far encoder and language model each move the output, and set their learning rates by it.

"CoMMIT: Coordinated Multimodal Instruction Tuning", Li and others, EMNLP 2025, arXiv 2407.20454. What comes out is the
trained model, the balance of its two components over time, and their rates. The published equations (3) to (9) were
not at hand: what was rebuilt from descriptions or chosen by us is named as ours where it stands.
"""

import lazy_loader

from armillary.cards import COMMIT as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
