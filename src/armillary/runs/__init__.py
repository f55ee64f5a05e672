"""One run: its record, its claims, and a folder that survives being killed. Plain data; nothing here needs torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
