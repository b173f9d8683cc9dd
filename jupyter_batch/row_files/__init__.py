"""A job's files by row: request files, row sources, hashes, and the lines of a row."""
