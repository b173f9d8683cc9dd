"""An OpenAI-compatible Files + Batches server for this machine: demos, tests, and models of one's own."""
