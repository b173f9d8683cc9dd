"""Seeded chaos: a server of bad habits, clients that are killed anywhere, and what was paid in the end."""
