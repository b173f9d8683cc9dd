"""The pure words of a batch: requests, results, states, costs, errors. No clock, no disk, no thread, no network."""
