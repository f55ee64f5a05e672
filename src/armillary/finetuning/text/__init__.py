"""A language model tuned on rows of text: ``armillary train text``."""
