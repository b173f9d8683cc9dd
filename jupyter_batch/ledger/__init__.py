"""The durable record of jobs on this disk; no other package touches it."""
