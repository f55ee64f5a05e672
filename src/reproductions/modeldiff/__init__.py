"""Modeldiff."""
