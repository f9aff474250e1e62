"""The outside doors: one small class over one library each.

Heavy libraries are imported inside the functions that need them.
"""
