"""OCEAN on the given model: it answers questions of geography in steps, and is tuned on what it wrote itself."""
