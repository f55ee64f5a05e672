"""Library: bricks kept in folders, found by an input, mounted into their base and taken out again."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
