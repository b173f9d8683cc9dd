"""xAI's batches."""
