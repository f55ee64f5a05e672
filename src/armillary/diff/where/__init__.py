"""Where two models differ: in which tensors, read from the files, and in which blocks, by putting base's back."""
