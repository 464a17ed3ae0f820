"""Lightning modules that complete the metal trace, and the classical completions behind the same face."""
