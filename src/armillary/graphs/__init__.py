"""Facts as triples: a knowledge graph on the disk, its readers, walks over it, and its names found in texts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
