"""The durable record of jobs on this disk: the only rooms that touch it."""
