"""Tiny byte-level and SentencePiece-like BPE tokenizers: Qwen's, Llama 3's, ModernBERT's and Gemma's, with their real special tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GemmaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from tests.checkpoints.corpus import SENTENCES

QWEN_REGEX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_REGEX = QWEN_REGEX.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
VERDICTS = ("yes no Yes No yes no Yes No",) * 40
"""So that the verdicts are tokens of their own, at the start of a line and behind a space."""
PIECES = 700

QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
QWEN_PLAIN = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
    "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
"""Added tokens that Qwen's files do not call special."""


@cache
def learned(regex: str) -> str:
    """A trained byte-level BPE model without special tokens, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=sorted(alphabet), show_progress=False)
    texts = [*SENTENCES, *(line for word in ("yes", "no", "Yes", "No") for line in [word] * 60), *VERDICTS]
    tokenizer.train_from_iterator(texts, trainer)
    model: str = json.dumps(json.loads(tokenizer.to_str())["model"])
    return model


def bpe(regex: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of `learned`."""
    model = json.loads(learned(regex))
    return dict(model["vocab"]), [tuple(merge) for merge in model["merges"]]


def qwen_tokenizer(extra: Sequence[str] = (), max_length: int = 131_072) -> PreTrainedTokenizerBase:
    """Qwen2Tokenizer with Qwen3's added tokens, then `extra` special ones; adds no special token by itself."""
    vocab, merges = bpe(QWEN_REGEX)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=max_length)
    tokenizer.add_tokens([AddedToken(content, special=True, normalized=False) for content in QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(content, special=False, normalized=False) for content in QWEN_PLAIN])
    tokenizer.add_tokens([AddedToken(content, special=True, normalized=False) for content in extra])
    return tokenizer


def llama_tokenizer(max_length: int = 131_072, extra: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """Llama 3's: `<|begin_of_text|>` in front by its own template, whole words taken before merges (`ignore_merges`)."""
    vocab, merges = bpe(LLAMA_REGEX)
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA_REGEX), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<image>", *extra]
    inner.add_special_tokens(special)
    begin = inner.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", begin)]
    )
    inner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def modernbert_tokenizer(max_length: int = 8192, extra: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """GPT-NeoX's BPE with runs of spaces as ordinary added tokens, then `[UNK] [CLS] [SEP] [PAD] [MASK]`."""
    regex = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    vocab, merges = bpe(regex)
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = decoders.ByteLevel()
    runs = [AddedToken(" " * count, special=False, normalized=True) for count in range(24, 1, -1)]
    inner.add_tokens([AddedToken("|||IP_ADDRESS|||", special=False, normalized=True), *runs])
    inner.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, special=True), *extra])
    ends = [(token, inner.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


@cache
def learned_spaces() -> str:
    """A BPE model over text in which `▁` stands for the space, as SentencePiece learns it, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁]+|▁+"), behavior="isolated")
    trainer = trainers.BpeTrainer(vocab_size=PIECES, show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, *VERDICTS, *(["Yes"] * 60)], trainer)
    model: str = json.dumps(json.loads(tokenizer.to_str())["model"])
    return model


def gemma_tokenizer(max_length: int = 8192) -> PreTrainedTokenizerBase:
    """GemmaTokenizer: `<pad>` 0, `<eos>` 1, `<bos>` 2, `<unk>` 3, `<mask>` 4, bytes for what is not in the vocabulary, `<bos>` in front."""
    model = json.loads(learned_spaces())
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{number:02X}>" for number in range(256))]
    pieces += [piece for piece in sorted(model["vocab"], key=model["vocab"].__getitem__) if piece not in pieces]
    merges = [tuple(merge) for merge in model["merges"]]
    return GemmaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges, model_max_length=max_length)
