"""Files and batches on disk."""
