"""Soft attributes, which only a reader can tell of a text: stated and judged by a model, by vectors or an oracle."""
