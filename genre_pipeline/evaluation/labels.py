"""What metrics and segments are called where a person reads them, and how a number is written.

Belongs here: words and number formats shared by the terminal table and the report.
"""

_NAMES = {"recall": "recall", "ndcg": "nDCG", "mrr": "MRR", "hit": "hit rate", "map": "MAP", "gini": "Gini"}

MEANINGS = {
    "recall": "Share of what the user went on to have that is in the list.",
    "ndcg": "Like recall, but a hit counts more the higher it stands; 1 is an ideal list.",
    "mrr": "1 / rank of the first hit, 0 without a hit.",
    "hit": "Share of users with at least one hit.",
    "map": "Precision at each hit, averaged; 1 is an ideal list.",
    "coverage": "Share of the catalogue that appears in anybody's list.",
    "gini": "Concentration of exposure: 0 if all items get the same, near 1 if few items get everything.",
    "novelty": "Mean surprise of an item in bits: -log2 of its share of all training interactions.",
    "average_popularity": "Mean number of training interactions of a recommended item.",
    "diversity": "Mean dissimilarity (1 - cosine) of the categories of two items in one list.",
    "miscalibration": "How far the list's mix of categories is from the user's history (KL divergence); 0 is best.",
}

SEGMENT_KINDS = {
    "history": "Users by training interactions",
    "item_popularity": "Relevant items by popularity",
    "cold_items": "Items first seen after the cut",
}


def segment_label(kind: str, segment: str) -> str:
    """A segment among others: "heavy users", "tail items", "cold items"."""
    return f"{segment} {'users' if kind == 'history' else 'items'}"


def metric_label(metric: str, k: int) -> str:
    """A metric's heading: "nDCG@10", "coverage@10"."""
    return f"{metric_name(metric)}@{k}"


def metric_name(metric: str) -> str:
    """A metric's name without its cut: "nDCG", "average popularity"."""
    return _NAMES.get(metric, metric.replace("_", " "))


def metric_meaning(metric: str) -> str:
    """One sentence; diversity by a technique's vectors shares its own."""
    if metric.startswith("diversity_"):
        technique = metric.removeprefix("diversity_")
        return f"Mean dissimilarity (1 - cosine) of the {technique} vectors of two items in one list."
    return MEANINGS[metric]


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed decimals, "–" where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def metric_value(metric: str, value: float | None) -> str:
    """A metric's value with the decimals that mean something for it."""
    digits = {"novelty": 2, "average_popularity": 1}.get(metric, 4)
    return number(value, digits)


def count(value: int | None) -> str:
    """A whole number with thousands apart, "–" where there is none."""
    return "–" if value is None else f"{value:,}"


def signed(value: float | None, digits: int = 4) -> str:
    """A difference, always with its sign: "+0.0012", "−0.0300", "–" where there is none."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float | None) -> str:
    """A p-value: "< 0.001", "0.031", "–"."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
