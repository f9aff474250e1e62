"""Raw to clean: rows coerced to the table contracts, text normalised, and what breaks a rule set aside with its reason.

Belongs here: pure functions from frames to frames. Kept out: where rows come from (`sources`) and where they go.
"""
