"""This process: its end, its warnings, its loggers, its locks."""
