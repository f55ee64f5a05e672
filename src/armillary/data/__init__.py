"""Small, real data with source and licence: relations, classes of words, texts and images. Names resolve lazily."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
