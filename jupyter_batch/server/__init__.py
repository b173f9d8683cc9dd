"""An OpenAI-compatible Files + Batches server for this machine: demos, tests, and models of one's own.

Public: `embedded.Embedded` and `embedded.running` (in this process), `launch.ensure` (a server beside it), `serve` (a
command). What can go wrong on request is in faults.py, what the built-in model answers in server/echo/model.py.
"""
