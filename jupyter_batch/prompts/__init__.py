"""A prompt of any form -> a request body with holes, and the texts for them. No ledger, no network."""
