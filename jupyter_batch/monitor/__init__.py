"""What a person sees of a job. It knows the core alone: no ledger, no provider, no frame."""
