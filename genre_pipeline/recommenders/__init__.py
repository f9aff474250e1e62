"""fit on the past, score every item, recommend the best: one technique a file, one contract for all (`base.py`)."""
