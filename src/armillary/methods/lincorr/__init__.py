"""LinCorr: a linear map between the next-token logits of two prompts, how well it fits, and whether it mirrors facts.

"Linear Correlation in LM's Compositional Generalization and Hallucination", Peng, An, Hao, Dong and Shang, 2025,
arXiv 2502.04520. Names resolve lazily, so that the settings can be read without torch.
"""

import lazy_loader

from armillary.cards import LINCORR as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
