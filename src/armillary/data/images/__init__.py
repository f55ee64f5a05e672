"""Images with names and questions about them: emoji in four drawing styles, synthetic ones, a user's own files."""
