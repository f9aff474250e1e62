"""How good the lists are: ranking metrics, list metrics, intervals, segments, and the report that shows them.

Frames come in, frames and one HTML page go out. Nothing here trains, ranks, reads a file or knows a clock.
"""
