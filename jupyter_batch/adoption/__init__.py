"""Batches that are at a provider and in no ledger here: found, shown, taken up."""
