"""What a language model writes about items and users: summaries, profiles, synthetic items; checked before use."""
