"""Editing: facts changed in closed form, one at a time (ROME) or many together (MEMIT), and what else changed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
