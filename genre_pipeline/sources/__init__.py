"""Bytes and tables to raw frames: files, SQL, data-set adapters, and the demo's own media.

Belongs here: reading what somebody else wrote, as it is. Kept out: judging rows and changing cells (`preprocessing`).
"""
