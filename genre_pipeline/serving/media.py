"""Pictures and sounds of items, read-only from the data set's folder.

A caller names an item, never a path; the path comes from the catalogue and is checked all the same, because a catalogue
is data too.
"""

from pathlib import Path

from genre_pipeline.serving.published import PublishedRun

TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".mp3": "audio/mpeg",
}
"""Formats that are served, by suffix. SVG is not among them: it can carry script."""


class MediaFiles:
    """The files below one folder."""

    def __init__(self, root: Path | None) -> None:
        self._root = root.resolve() if root is not None else None

    def file_of(self, run: PublishedRun, kind: str, item_id: str) -> Path | None:
        """Path of an item's `image` or `audio`; None where it has none here, or one outside the folder."""
        at = run.positions.get(item_id)
        relative = run.media[kind][at] if at is not None else None
        return None if relative is None else self.resolved(relative)

    def resolved(self, relative: str) -> Path | None:
        """The file `relative` names, with links followed, if it is a served format and lies below the folder."""
        if self._root is None or "\0" in relative or Path(relative).suffix.lower() not in TYPES:
            return None
        try:
            path = (self._root / relative).resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return path if path.is_relative_to(self._root) and path.is_file() and path.suffix.lower() in TYPES else None
