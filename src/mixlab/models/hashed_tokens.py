"""The stem of the networks for texts: a token is the mean of the embeddings of its hashed features.

A feature is an n-gram of characters or words, hashed to one of a fixed number of rows, as in fastText (Joulin et al.
2016, https://arxiv.org/abs/1607.01759). The projection of pNLP-Mixer (Fusco et al. 2022,
https://arxiv.org/abs/2202.04350) is a sum of rows as well, selected by MinHash.

Axes:  text     texts of a batch
       token    words of a text; the last ones may be padding
       feature  hashed features of a token; 0 is padding, and a token without features is padding
       channel  the features of a token in the network
"""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from mixlab.errors import UserError

INITIAL_DEVIATION = 0.1
"""Standard deviation of the initial embeddings."""


class HashedTokens(nn.Module):
    """Embeds tokens, and says which of them are not padding.

    `token_dropout` is the rate at which tokens become padding during training.
    """

    def __init__(self, buckets: int, channels: int, token_dropout: float):
        super().__init__()
        self.token_dropout = token_dropout
        self.embedding = nn.EmbeddingBag(buckets, channels, mode="mean", padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=INITIAL_DEVIATION)
        with torch.no_grad():
            self.embedding.weight[0].zero_()

    def forward(
        self, texts: Integer[Tensor, "text token feature"]
    ) -> tuple[Float[Tensor, "text token channel"], Bool[Tensor, "text token"]]:
        """The tokens, which are 0 where they are padding, and whether each token is present."""
        present = texts[..., 0] != 0
        if self.training and self.token_dropout:
            dropped = torch.rand(present.shape, device=texts.device) < self.token_dropout
            present = present & ~dropped
        tokens = self.embedding(texts.flatten(0, 1)).unflatten(0, texts.shape[:2])
        return tokens * present[..., None], present

    def extra_repr(self) -> str:
        return f"token_dropout={self.token_dropout}"


def mean_of_present(
    tokens: Float[Tensor, "text token channel"], present: Bool[Tensor, "text token"]
) -> Float[Tensor, "text channel"]:
    """The mean over the tokens that are present; 0 for a text without any."""
    weights = present[..., None].to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def require_fitting_tokens(texts: Tensor, tokens: int) -> None:
    """Raises UserError for inputs that are not hashed texts of at most `tokens` tokens."""
    if texts.is_floating_point() or texts.dim() != 3 or texts.shape[1] > tokens:
        raise UserError(
            f"This model reads texts as integers of shape (text, token, feature) with at most {tokens} tokens, but "
            f"got {texts.dtype} of shape {tuple(texts.shape)}: give what the preprocessing of the model returns, or "
            "a model for images."
        )
