"""The Feast repository: declarations, no logic. `definitions.py` is the only module Feast reads here."""
