"""Vector-ICL: a text model learns in context from vectors of any encoder; only a projector is trained.

"Vector-ICL: In-context Learning with Continuous Vector Representations", Zhuang and others, ICLR 2025, arXiv
2410.05629. What comes out is a projector, and classes, numbers or text for vectors. The method was rebuilt from its
official code; what was chosen by us is named as ours where it stands. Names resolve lazily, so that the settings can
be read without torch.
"""

import lazy_loader

from armillary.cards import VECTOR_ICL as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
