"""Compiled code and what feeds it: slices as lanes, threads, Triton; imported on demand."""
