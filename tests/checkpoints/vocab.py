"""Tiny tokenizers of the real classes, trained here, with the special tokens of each family where the family has them.

Every function gives a new tokenizer; training happens once per process.
"""

from __future__ import annotations

from functools import cache

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerBase, XLMRobertaTokenizer

from tests.checkpoints.corpus import SENTENCES

WORDS = 500
"""How many pieces a tiny vocabulary learns beside its special tokens."""


@cache
def unigram_pieces() -> tuple[tuple[str, float], ...]:
    """Pieces and scores as SentencePiece would learn them from the corpus, without special tokens."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=WORDS, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    found = [(piece, -3.0 - number / 50) for number, (piece, _) in enumerate(pieces) if piece != "<unk>"]
    return tuple(found)


def xlm_roberta_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` last, as in all of XLM-R's children."""
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigram_pieces(), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=max_length)


@cache
def wordpieces() -> tuple[str, ...]:
    """Lower-case word pieces learned from the corpus, without special tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tuple(sorted(set(tokenizer.get_vocab()) - {"[UNK]"}))


def bert_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`[PAD]` 0, `[UNK]` 100, `[CLS]` 101, `[SEP]` 102, `[MASK]` 103 with the unused rows of bert-base-uncased between them."""
    unused = [f"[unused{number}]" for number in range(99)]
    vocab = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *wordpieces()]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(vocab)}, model_max_length=max_length)


def deberta_tokenizer(max_length: int = 512) -> PreTrainedTokenizerBase:
    """`[PAD]` 0, `[CLS]` 1, `[SEP]` 2, `[UNK]` 3, `[MASK]` last, as DeBERTa-v3 has them."""
    vocab = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0), *unigram_pieces()]
    return DebertaV2Tokenizer(vocab=vocab, unk_id=3, model_max_length=max_length)
