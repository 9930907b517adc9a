"""Tiny tokenizers of the real classes, made here, with the special tokens of each family where the family has them.

Every function gives a new tokenizer; vocabularies are made once per process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerBase, XLMRobertaTokenizer

from tests.checkpoints.corpus import SENTENCES

WORDS = 400
"""How many pieces a tiny vocabulary has beside its special tokens."""
LONGEST = 6
"""Characters of the longest piece."""


@cache
def unigram_pieces() -> tuple[tuple[str, float], ...]:
    """Pieces and scores as SentencePiece would have them for the corpus, without special tokens."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    found = pieces_of(words_of(normalizer, pre_tokenizers.Metaspace()), within="")
    return tuple((piece, -3.0 - number / 50) for number, piece in enumerate(found))


def words_of(normalizer: normalizers.Normalizer, pre_tokenizer: pre_tokenizers.PreTokenizer) -> list[str]:
    """The corpus as words, in its own order."""
    texts = [normalizer.normalize_str(sentence) for sentence in SENTENCES]
    return [word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text)]


def pieces_of(words: Sequence[str], *, within: str) -> list[str]:
    """All characters and the parts of `words` that cover most, `within` before parts that do not begin a word. The same in every process,
    which the tokenizers library's trainers of these kinds are not."""
    counts: Counter[str] = Counter()
    for word in words:
        for start in range(len(word)):
            for end in range(start + 1, min(start + LONGEST, len(word)) + 1):
                counts[(within if start else "") + word[start:end]] += 1
    by_use = sorted(counts, key=lambda piece: (-counts[piece] * len(piece.removeprefix(within)), piece))
    characters = [piece for piece in by_use if len(piece.removeprefix(within)) == 1]
    longer = [piece for piece in by_use if len(piece.removeprefix(within)) > 1]
    return [*longer[: max(0, WORDS - len(characters))], *characters]


def xlm_roberta_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` last, as in all of XLM-R's children."""
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigram_pieces(), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=max_length)


@cache
def wordpieces() -> tuple[str, ...]:
    """Lower-case word pieces of the corpus, without special tokens."""
    return tuple(sorted(pieces_of(words_of(normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()), within="##")))


def bert_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`[PAD]` 0, `[UNK]` 100, `[CLS]` 101, `[SEP]` 102, `[MASK]` 103 with the unused rows of bert-base-uncased between them."""
    unused = [f"[unused{number}]" for number in range(99)]
    vocab = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *wordpieces()]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(vocab)}, model_max_length=max_length)


def deberta_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`[PAD]` 0, `[CLS]` 1, `[SEP]` 2, `[UNK]` 3, `[MASK]` last, as DeBERTa-v3 has them."""
    vocab = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0), *unigram_pieces()]
    return DebertaV2Tokenizer(vocab=vocab, unk_id=3, model_max_length=max_length)
