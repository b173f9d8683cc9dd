"""Between the APIs that the server speaks, and what the models behind it speak."""
