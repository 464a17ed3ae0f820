"""Parallel beams: one table of lines, and a backend a file over it."""
