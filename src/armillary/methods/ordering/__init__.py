"""Ordering: is each step's support to its left?

"Next-Token Prediction Task Assumes Optimal Data Ordering for LLM Training in Proof Generation", An et al., 2024, arXiv
2411.00863. What comes out: how far the steps of a sample are from an order in which all that helps to find a step
stands before it, the same steps in a better order, and models trained on data that differ in nothing but order. The
body of the paper could not be read: rebuilt from its abstract and the released code of its predecessor; what was
chosen by us is named as ours where it stands. Names resolve lazily, so that steps can be ordered without torch.
"""

import lazy_loader

from armillary.cards import ORDERING as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
