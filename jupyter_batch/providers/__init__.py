"""Bytes over the network: what a provider takes, and five verbs. No disk of ours, no frame, no widget."""
