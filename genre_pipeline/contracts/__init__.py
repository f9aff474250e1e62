"""The hallway: columns, table schemas, names and the one error family.

Everybody may come here; nothing lives here that does work, but for what keeping a file means (`durable`).
"""
