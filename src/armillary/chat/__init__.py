"""Models that are asked in words, here or behind an endpoint."""
