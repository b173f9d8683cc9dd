"""Translation between the server's APIs and those of the models behind it."""
