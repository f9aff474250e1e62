"""One page of what a night's items look and sound like: pictures, spectrograms with players, neighbours, planes.

Self-contained: no script, nothing asked of any host, everything that came from data escaped.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from genre_pipeline.evaluation.report import page_templates
from genre_pipeline.offline.looks import Looks, neighbours_of, plane_of

_SHOWN_REJECTED = 200


def render_modalities(
    day: str,
    items: pl.DataFrame,
    vectors: Mapping[str, pl.DataFrame],
    *,
    media: Mapping[str, Looks],
    rejected: pl.DataFrame,
) -> str:
    """The page as HTML text. `vectors` are tables by what they are called, `media` what `media_looks` gave by modality,
    `rejected` in schema `RejectedMedia`, the first of which are shown.
    """
    spaces = [
        {
            "name": name,
            "known": frame.height - frame["vector"].null_count(),
            "neighbours": neighbours_of(items, frame),
            "plane": plane_of(items, frame, name),
        }
        for name, frame in vectors.items()
    ]
    return (
        page_templates(Path(__file__).parent)
        .get_template("modality_page.html")
        .render(
            day=day,
            items=items.height,
            spaces=spaces,
            media=media,
            rejected=rejected.head(_SHOWN_REJECTED).to_dicts(),
            n_rejected=rejected.height,
        )
    )
