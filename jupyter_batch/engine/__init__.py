"""The only place where ledger and provider meet: plan, send, poll, collect, under a lease."""
