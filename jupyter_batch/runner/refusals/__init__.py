"""Reactions to refused requests and batches: blocks, requeues, cuts, and new uploads."""
