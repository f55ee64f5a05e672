"""The kinds of hard attributes, a family a file."""
