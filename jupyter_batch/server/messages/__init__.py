"""Anthropic's Messages and Message Batches APIs on the embedded server, around the same runner and store."""
