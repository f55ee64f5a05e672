"""OCEAN: how well a model's chains of thought agree with a knowledge graph, offline, and alignment towards it.

"OCEAN: Offline Chain-of-thought Evaluation and Alignment in Large Language Models", Wu, Li, Wang, Xia, Xiong, Wang,
Yu, Chen, Kveton, Yao, Shang and McAuley, ICLR 2025, arXiv 2410.23703. What comes out are values of policies with
intervals from logged chains, a policy trained on verbalised paths of a graph, and models aligned by it. The paper's
text could not be read: rebuilt from accounts of its formulas; what was chosen by us is named as ours where it stands.
Names resolve lazily, so that the settings can be read without torch.
"""

import lazy_loader

from armillary.cards import OCEAN as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
