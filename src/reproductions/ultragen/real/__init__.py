"""UltraGen's claims on the given model and on real texts."""
