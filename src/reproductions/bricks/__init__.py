"""Bricks."""
