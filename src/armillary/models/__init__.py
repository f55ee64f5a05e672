"""Open a model and know its parts."""

from armillary.fetch.cache import cache_folder
from armillary.models.anatomy import Anatomy, find_anatomy
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load
from armillary.models.packaged import PACKAGED, Packaged, cached, fetch
from armillary.models.tiny_models import KINDS, tiny

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
