"""MDGD: fine-tune an image-text model on a task while its image states stay where pre-training put them.

"Mitigating Visual Knowledge Forgetting in MLLM Instruction-tuning via Modality-decoupled Gradient Descent", Wu and
others, 2025, arXiv 2502.11740. Names resolve lazily, so that the settings can be read without torch.
"""

import lazy_loader

from armillary.cards import MDGD as CARD

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["CARD"]
