"""What a text can be checked for, without a model: how long it is, which words, marks and shapes it has."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
