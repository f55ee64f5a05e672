"""Armillary: one instrument of many rings for looking inside language models.

Public names resolve on first use, so that ``import armillary`` (and ``armillary --help``) loads no torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
