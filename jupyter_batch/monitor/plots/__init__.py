"""The figure of `job.plot()`: its plain values, and a drawing for each library."""
