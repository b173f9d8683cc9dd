"""Azure OpenAI's batches."""
