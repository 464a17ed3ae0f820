"""A config: composed, checked, brought up to date, trusted, and built into objects."""
