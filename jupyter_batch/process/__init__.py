"""State of this process: shutdown, warnings, loggers, locks."""
