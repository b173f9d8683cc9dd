"""Providers without batches that jupyter_batch can send."""
