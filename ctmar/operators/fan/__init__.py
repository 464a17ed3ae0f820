"""Fan beams: every ray has its own line; the backends, and the direct filter."""
