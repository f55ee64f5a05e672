"""Pure tensor mathematics; imports nothing of ours but errors. Names resolve lazily: intervals need no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
