"""Batches at a provider that are in no ledger here: search, list, adoption."""
