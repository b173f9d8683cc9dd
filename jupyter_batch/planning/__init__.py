"""Planning: options and a frame to a job on disk, in one transaction; nothing is sent."""
