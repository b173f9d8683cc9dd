"""Moves shards under a lease: the only place where ledger and provider meet."""
