"""UltraGen's claims on the given model before and after its tuning on real texts."""
