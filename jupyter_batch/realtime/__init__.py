"""Real-time calls in place of batches, behind the same provider protocol."""
