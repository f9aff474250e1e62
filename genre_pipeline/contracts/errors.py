"""The one error family.

Every error a user can cause names the thing, the value and the remedy. The culprits travel as data, so that a
caller can show them, count them or write them to a table without parsing a message.
"""

from collections.abc import Sequence

_SHOWN_CULPRITS = 5


class GenreError(Exception):
    """Something is wrong that a person can mend.

    `problem` says what is wrong and names the thing; `remedy` says what to do; `culprits` are the offending values.
    """

    def __init__(self, problem: str, *, remedy: str, culprits: Sequence[object] = ()) -> None:
        self.problem = problem
        self.remedy = remedy
        self.culprits = tuple(culprits)
        super().__init__(self._message())

    def _message(self) -> str:
        shown = ", ".join(repr(culprit) for culprit in self.culprits[:_SHOWN_CULPRITS])
        more = len(self.culprits) - _SHOWN_CULPRITS
        tail = f", and {more} more" if more > 0 else ""
        values = f" ({shown}{tail})" if shown else ""
        return f"{self.problem}{values}. {self.remedy}"


class ConfigError(GenreError):
    """A key or value in `genre.yaml`, a `GENRE_*` variable or an option is not usable."""


class SourceError(GenreError):
    """A source cannot be read: missing, unreachable, of an unknown form, without a required column, or empty."""


class ContractError(GenreError):
    """A table breaks its contract in a way that cannot be quarantined row by row."""


class CorruptPartitionError(GenreError):
    """A stored partition does not match its manifest."""


class MissingPartitionError(GenreError):
    """A partition that a computation needs has not been materialised."""


class ModelFileError(GenreError):
    """Model weights are missing, of a refused format, or do not match their manifest."""


class TrainingError(GenreError):
    """A model cannot be trained on this data, or training diverged."""


class UnknownUserError(GenreError):
    """A user is not in the data, and the cold-user policy says to refuse."""


class FeatureStoreError(GenreError):
    """The feature store is not there, not applied, or holds something unexpected."""


class PublishRefusedError(GenreError):
    """A publication did not pass its own verification; what was published before stays."""


class NotPublishedError(GenreError):
    """Nothing has been published yet for what was asked."""


class RequestError(GenreError):
    """A request to the service is not usable: an id, a parameter or a body breaks its limits."""


class UnknownItemError(GenreError):
    """An item is not in the published catalogue."""


class TablesError(GenreError):
    """The database of the published tables does not answer, is locked, or has not been migrated."""


class AccessError(GenreError):
    """A request has no key, a key that is not valid, or one that does not allow what was asked."""
