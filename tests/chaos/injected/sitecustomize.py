"""Python imports this at its start when this folder is on its path: it makes the tokenizer raise on one text. Only fault tests do that."""

from batching.families import encode

BOMB = "tokenizer bomb"
_encode = encode.Encoder.encode


def _raise_on_bomb(self, query, documents, **options):
    if BOMB in query:
        raise RuntimeError("the tokenizer met a text that it can't stand")
    return _encode(self, query, documents, **options)


encode.Encoder.encode = _raise_on_bomb
