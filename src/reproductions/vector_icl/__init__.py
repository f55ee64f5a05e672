"""Vector icl."""
