"""Mdgd."""
