"""Readers of triples: each a stream of (head, relation, tail) out of a file, an object or an installed data set."""
