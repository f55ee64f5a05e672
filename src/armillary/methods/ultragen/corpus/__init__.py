"""Files of texts and of responses, of any length: read a piece at a time, derived from and checked, here or on Ray."""
