"""Flipped rewards: what they cost each method, and where it ends, counted in a small problem."""
