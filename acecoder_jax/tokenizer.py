"""Tokenizers: load one of the Qwen kind, or train a small one with the same parts.

A trained tokenizer has the parts of Qwen2.5's: NFC, its splitting rule (digits stand alone), byte-level BPE, the same
special tokens and chat format, but no default system prompt.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT, TURN_START, TURN_END = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)

# How Qwen2.5's tokenizer cuts a text before merging (from its published tokenizer.json).
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def load(path_or_hub_id: str | os.PathLike[str]) -> "PreTrainedTokenizerBase":
    """The tokenizer of a local directory or of a hub id such as "Qwen/Qwen2.5-Coder-0.5B-Instruct".

    FileNotFoundError for a directory that lacks the files, or a path or id that leads nowhere; it says which.
    """
    name = os.fspath(path_or_hub_id)
    folder = Path(name)
    if folder.is_dir():
        has = {file for file in ("tokenizer.json", "vocab.json", "merges.txt") if (folder / file).is_file()}
        if "tokenizer.json" not in has and has != {"vocab.json", "merges.txt"}:
            raise FileNotFoundError(
                f"no tokenizer in {name}: it has no tokenizer.json (nor both vocab.json and merges.txt)"
            )
    elif folder.is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"no tokenizer at {name}: there is no such directory")
    from transformers import AutoTokenizer  # slow to import

    try:
        return AutoTokenizer.from_pretrained(name)
    except OSError as error:
        raise FileNotFoundError(
            f"no tokenizer for {name!r}: it is no local directory, and the hub gave none ({error})"
        ) from error


def train_bpe(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer trained on texts, with Qwen's special tokens and chat format.

    The same texts give the same ids. vocab_size counts the 256 bytes and the special tokens, whose ids come last, as in
    Qwen2.5; where the texts hold too few pairs to merge, the vocabulary is smaller (see len(tokenizer)).
    Every text can be encoded. eos is <|im_end|>, pad <|endoftext|>. ValueError for a vocab_size below
    SMALLEST_VOCABULARY.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(f"vocab_size is {vocab_size}: the bytes and special tokens alone are {SMALLEST_VOCABULARY}")
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Each text will stand in a chat: the names of the two roles should not cost more than a token.
    bpe.train_from_iterator((part for text in texts for part in (text, "user\n", "assistant\n")), trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
