"""Features: clean tables become vectors and statistics, one technique a file. Sources and trained networks stay out."""
