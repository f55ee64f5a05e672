"""Readers of the step data that people have, one file a format."""
