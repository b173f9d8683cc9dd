"""Data types of a batch: requests, results, states, costs, errors. No I/O, clock or threads."""
