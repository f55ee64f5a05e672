"""Small relations that no package holds, written for this project: one TOML file each under ``written/``."""

import tomllib
from collections.abc import Callable
from functools import partial
from importlib.resources import files

from armillary.data.relation_file import relation_from_table
from armillary.data.relations import Relation
from armillary.data.sources import own_source

IDS = ("fruit-color", "food-taste", "animal-size", "ceo-company")


def written(id: str) -> Relation:
    """The relation of the shipped file of this id."""
    name = f"{id}.toml"
    text = (files("armillary.data") / "written" / name).read_text(encoding="utf-8")
    return relation_from_table(tomllib.loads(text), name, own_source(f"pairs of {id}"))


BUILDERS: dict[str, Callable[[], Relation]] = {id: partial(written, id) for id in IDS}
