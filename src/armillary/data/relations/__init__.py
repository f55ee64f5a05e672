"""Relations between words: shipped ones, joined from packages or written for this project, and a user's own files."""
