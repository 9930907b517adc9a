"""Every wire format that rerank clients speak, each mapped to and from one request and one result.

`table.py` decides which dialect a call is in and is all that the routes need; `nouns.py` holds what a dialect is. Nothing here knows HTTP
servers, queues or models, and nothing here does I/O.
"""
