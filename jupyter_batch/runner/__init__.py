"""The background worker: moves the shards of jobs under a lease, from the plan to collected result files."""
