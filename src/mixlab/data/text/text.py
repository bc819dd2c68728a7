"""`Text`: a text as the source of a sample, in the place of an image file."""

from dataclasses import dataclass

from mixlab.data.text.hashing import tokens_of


@dataclass(frozen=True)
class Text:
    """A text in memory.

    Its bytes are those of its tokens, so that texts with the same tokens, which are the same for a model, are copies of
    each other where copies are searched.
    """

    content: str

    def read_bytes(self) -> bytes:
        """The tokens in UTF-8, separated by spaces."""
        return " ".join(tokens_of(self.content)).encode()

    @property
    def size(self) -> int:
        """Size of `read_bytes`."""
        return len(self.read_bytes())
