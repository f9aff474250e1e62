"""The shape of the LSTM item tower, apart from the network so that reading a configuration does not load torch."""

from pydantic import Field

from genre_pipeline.contracts.settings import Settings


class LstmConfig(Settings):
    """A bidirectional LSTM (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005) over word embeddings."""

    embedding_width: int = Field(default=128, ge=4)
    """Dimensions of a word."""
    hidden_width: int = Field(default=128, ge=4)
    """Dimensions of each direction's state."""
    layers: int = Field(default=1, ge=1, le=8)
    """Stacked LSTM layers."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the values of words, and of states between layers, dropped in training."""
    word_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of whole words that are unknown in training."""
    vocabulary_size: int = Field(default=20_000, ge=10)
    """The most frequent words that are known; the others share one embedding."""
    least_count: int = Field(default=2, ge=1)
    """A word seen less often in the training texts is unknown."""
