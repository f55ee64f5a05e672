"""Merging: several low-rank bricks, or whole models on disk, joined into one."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
