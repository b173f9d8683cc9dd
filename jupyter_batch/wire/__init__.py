"""Pure translation between our requests and results and providers' lines: one file per dialect."""
