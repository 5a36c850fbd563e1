"""A reference that moves: on a tree whose ends are known, and for the transformer."""
