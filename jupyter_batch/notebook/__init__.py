"""The kernel, shell or terminal that the package runs in."""
