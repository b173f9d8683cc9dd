"""Options and a frame -> a job on disk, whole or not at all; nothing is sent."""
