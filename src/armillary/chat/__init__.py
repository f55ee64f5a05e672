"""Models that are asked in words, here or behind an endpoint. Nothing here loads torch or httpx before it is used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
