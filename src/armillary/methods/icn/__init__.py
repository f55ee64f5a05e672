"""ICN: answers that a language model knows but ranks low, found by listing in the context what it said already.

"Correlation and Navigation in the Vocabulary Key Representation Space of Language Models", Peng, An and Shang, 2024,
arXiv 2410.02284. Names resolve lazily, so that the settings can be read without torch.
"""

import lazy_loader

from armillary.cards import ICN as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
