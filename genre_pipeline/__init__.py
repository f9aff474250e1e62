"""GENRE: personal recommendations from text, images and audio, built on language models."""
