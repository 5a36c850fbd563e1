"""The commands, by the panel of `gnivo-edu --help` that shows them; each is one Python call plus a
table.
"""
