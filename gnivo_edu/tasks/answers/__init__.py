r"""An answer is read whole or not at all: from characters to LaTeX, from LaTeX to sympy.

`text` rewrites characters and notations, `units` takes away what may follow a number, `symbols`
names what a parser would lose, `reading` puts these together, `equations` and `inequalities` say
what these give, `numbers` compares what was read, `line` reads the line after a marker, and
`patterns` has what they share.
"""
