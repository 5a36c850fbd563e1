"""Table 1 in miniature, the search before it, and two studies beside it."""
