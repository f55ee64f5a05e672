"""Sparsity: small inputs of every matrix left out token by token, by thresholds from a text and without training.

TEAL, "Training-Free Activation Sparsity in Large Language Models", Liu and others, 2024, arXiv 2408.14690.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
