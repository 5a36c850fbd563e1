"""Old answers and another model's in each group, for every method and by enumeration."""
