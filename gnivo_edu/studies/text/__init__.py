"""A graded reward with a story model, and with SmolLM2."""
