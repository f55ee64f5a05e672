"""OCEAN reproduced: estimators by enumeration, alignment of a small model that believes wrong facts of geography."""
