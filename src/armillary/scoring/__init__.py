"""Log-probabilities and decoding done once: of the next token, of whole texts, and of what is sampled."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
