"""Relations between words: shipped ones, of extracted facts or written for this project, and a user's own files."""
