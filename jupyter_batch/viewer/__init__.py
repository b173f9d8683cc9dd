"""The row view: a page on loopback that shows a job's rows."""
