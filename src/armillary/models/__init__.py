"""Open a model and know its parts."""

from armillary.models.anatomy import Anatomy, find_anatomy
from armillary.models.loaded import LoadedModel
from armillary.models.tiny import KINDS, tiny

__all__ = ["KINDS", "Anatomy", "LoadedModel", "find_anatomy", "tiny"]
