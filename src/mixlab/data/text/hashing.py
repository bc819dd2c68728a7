"""From a text to tokens, and from tokens to hashed features. There is no vocabulary, so nothing has to be stored.

A token is a word or a punctuation mark, in lower case. Its features are hashes of the word, of the word together with
the one before it, and of its n-grams of three and four characters with marks at both ends, as in fastText (Bojanowski
et al. 2017, https://arxiv.org/abs/1607.04606). A misspelt word has most n-grams of the correct one.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from zlib import crc32

import numpy as np
from jaxtyping import Int32

_TOKEN = re.compile(r"\w+|[^\w\s]")
_LENGTHS = (3, 4)
_START, _END = "\x02", "\x03"


def tokens_of(text: str) -> list[str]:
    """The tokens of a text in Unicode normal form KC; empty for white space."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def hashed(tokens: list[str], length: int, features: int, buckets: int) -> Int32[np.ndarray, "token feature"]:
    """The features of the first `length` tokens, padded with 0.

    features  of a token at most; the first ones are those of the word and of the word with the one before it
    buckets   features are from 1 to `buckets` - 1
    """
    result = np.zeros((length, features), dtype=np.int32)
    before = _START
    for row, token in enumerate(tokens[:length]):
        word, *ngrams = _word_hashes(token)
        hashes = [word, crc32(f"{before} {token}".encode()), *ngrams][:features]
        result[row, : len(hashes)] = [1 + value % (buckets - 1) for value in hashes]
        before = token
    return result


@lru_cache(maxsize=2**16)
def _word_hashes(token: str) -> tuple[int, ...]:
    """The hash of a word, and of its n-grams."""
    return tuple(crc32(part.encode()) for part in (token, *_ngrams(token)))


def _ngrams(token: str) -> Iterator[str]:
    marked = f"{_START}{token}{_END}"
    for length in _LENGTHS:
        for start in range(len(marked) - length + 1):
            yield marked[start : start + length]
