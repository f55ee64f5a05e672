"""Open a model and know its parts."""

from armillary.models.anatomy import Anatomy, find_anatomy
from armillary.models.load import load
from armillary.models.loaded import LoadedModel
from armillary.models.packaged import PACKAGED, Packaged, cache_folder, cached, fetch
from armillary.models.tiny import KINDS, tiny

__all__ = [
    "KINDS",
    "PACKAGED",
    "Anatomy",
    "LoadedModel",
    "Packaged",
    "cache_folder",
    "cached",
    "fetch",
    "find_anatomy",
    "load",
    "tiny",
]
