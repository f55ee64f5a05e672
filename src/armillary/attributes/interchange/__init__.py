"""Prompts of other benchmarks as attributes, and attributes in their files: IFEval, IFBench, ultrabench.

Their rows name instructions by an id with its arguments. Each id that the catalogue can check becomes attributes of
its kinds; what it can't is refused by name, or kept without attributes where the caller says so.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
