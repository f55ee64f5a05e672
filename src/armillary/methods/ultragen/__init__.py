"""UltraGen: text under tens of attributes at once, from raw text to a tuned model.

"UltraGen: Extremely Fine-grained Controllable Generation via Attribute Reconstruction and Global Preference
Optimization", Yun, Peng and Shang, 2025, arXiv 2502.12375. What comes out are data (texts beside the attributes that
they themselves satisfy, preference pairs over combinations that no text had), rewards, tuned models, and where and why
the satisfaction of attributes falls. The body of the paper could not be read: rebuilt from its abstract and its
released code; what was chosen by us is named as ours where it stands. Names resolve lazily, so that the settings can
be read without torch.
"""

import lazy_loader

from armillary.cards import ULTRAGEN as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
