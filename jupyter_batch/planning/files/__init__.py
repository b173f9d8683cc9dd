"""Request files that a user sees: exported ones, and ready ones that are submitted."""
