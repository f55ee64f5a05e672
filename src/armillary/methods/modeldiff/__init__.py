"""Model-diff: on how many inputs do two language models disagree, by how much, and on which ones.

"Model-diff: A Tool for Comparative Study of Language Models in the Input Space", Liu, Li, Li, Wang and Shang, 2024,
arXiv 2412.12177. Names resolve lazily, so that the settings can be read without torch.
"""

import lazy_loader

from armillary.cards import MODELDIFF as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
