"""Lincorr."""
