"""Networks, one a file, read bottom-up with the shape on the line. No data access, no training loop, no files."""
