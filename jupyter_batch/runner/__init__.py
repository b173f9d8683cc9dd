"""Execution of shards under a lease: the only package that uses both ledger and provider."""
