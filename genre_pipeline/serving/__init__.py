"""The real-time service: scores now, from fresh features, and never answers with nothing.

`scorer` and `freshness` are pure, `service` joins them to the doors, `app` and `page` speak HTTP, `wiring` composes the
real doors. No training and no writing of published tables happens here.
"""
