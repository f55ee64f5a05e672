"""What a text can be checked for, without a model: how long it is, which words, marks and shapes it has."""
