"""A server of OpenAI's Files, Batches, Chat, Embeddings and Responses APIs and of Anthropic's Messages APIs.

It runs on this machine: for demos, tests and local models.

Public: `embedded.Embedded` and `embedded.running` (in this process), `launch.ensure` (a process of
its own), `serve` (a command). faults.py lists the faults on request, echo/ has the built-in model.
"""
