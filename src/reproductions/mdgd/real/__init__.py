"""MDGD on a given model that was given images."""
