"""Batches of OpenAI's shape."""
