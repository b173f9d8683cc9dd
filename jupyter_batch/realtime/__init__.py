"""Real time: direct calls in place of a batch, as a provider like the others."""
