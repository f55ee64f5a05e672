"""Downloads through the user's own tools, verified by sha256, and the cache that keeps what came of them."""
