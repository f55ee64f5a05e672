"""How answers read, by rules that need no judge: whether they are right, and attributes that a rule can check."""
