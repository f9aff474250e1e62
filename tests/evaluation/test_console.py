from genre_pipeline.evaluation.console import console_rows, markdown_table


def test_rows_in_order_of_ndcg_with_the_same_headings(result):
    rows = console_rows(result)
    assert [row["recommender"] for row in rows] == ["hybrid", "popular", "dull"]
    headings = ["recommender", "recall@3", "nDCG@3", "MRR@3", "hit rate@3", "coverage@3", "novelty@3", "vs hybrid"]
    assert [list(row) for row in rows] == [headings] * 3


def test_cells_of_one_row(result):
    hybrid, _, dull = console_rows(result)
    assert hybrid["hit rate@3"] == "0.6667"
    assert hybrid["nDCG@3"].startswith("0.6")
    assert " ± 0." in hybrid["nDCG@3"]
    assert hybrid["vs hybrid"] == ""
    assert dull["recall@3"] == "0.0000 ± 0.0000"
    assert dull["vs hybrid"].startswith("\N{MINUS SIGN}0.")
    assert dull["vs hybrid"].endswith("(p 0.007)")


def test_the_markdown_table_has_the_same_cells(result):
    head, rule, *body = markdown_table(result).splitlines()
    rows = console_rows(result)
    assert head == f"| {' | '.join(rows[0])} |"
    assert rule.count("---") == len(rows[0])
    assert body == [f"| {' | '.join(row.values())} |" for row in rows]
