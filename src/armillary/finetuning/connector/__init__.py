"""A vision tower for a language model: the connector between them, trained, and what the two see."""
