"""Pure translation between our requests and results and a provider's lines: one file a dialect, no network."""
