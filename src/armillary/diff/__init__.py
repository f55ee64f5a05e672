"""What changed between two language models, and how sure that is."""
