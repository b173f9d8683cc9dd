"""Servers that speak the providers' documented wires, on loopback; they know nothing of jupyter_batch."""
