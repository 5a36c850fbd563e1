"""GN-IVO one factor at a time, each level beside what the exact laboratory says of it."""
