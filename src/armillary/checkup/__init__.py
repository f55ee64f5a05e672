"""The main job: look inside a model (or at a model before and after tuning) and leave one report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
