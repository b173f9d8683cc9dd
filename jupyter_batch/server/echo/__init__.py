"""The built-in model `local/echo`: answers by rules, no language model."""
