"""Texts by capability and by corpus: out of installed packages, or fetched once and kept in the cache."""
