"""An OpenAI-compatible Files + Batches server on this machine: for demos, tests, local models.

Public: `embedded.Embedded` and `embedded.running` (in this process), `launch.ensure` (a process of
its own), `serve` (a command). faults.py lists the faults on request, server/echo/model.py the rules
of the built-in model.
"""
