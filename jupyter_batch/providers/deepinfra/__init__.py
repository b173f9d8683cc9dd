"""DeepInfra."""
