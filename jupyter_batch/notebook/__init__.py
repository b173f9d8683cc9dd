"""The kernel, the shell and the terminal that the package runs in."""
