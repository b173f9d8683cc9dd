"""A job's files by row: request files, row sources, hashes, and an index of the lines."""
