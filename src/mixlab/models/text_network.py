"""The anatomy of the networks for texts: stem, blocks, mean over the tokens that are present, and a linear head.

Axes:  text     texts of a batch
       token    one row per word; the last ones may be padding
       feature  hashed features of a token
       channel  the features of a token in the network
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from einops import rearrange
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from mixlab.models.contract import classifier
from mixlab.models.hashed_tokens import mean_of_present, require_fitting_tokens
from mixlab.models.stochastic_depth import linear_ramp


@runtime_checkable
class TextConfig(Protocol):
    """The sizes that all networks for texts have."""

    @property
    def tokens(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def classes(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def stochastic_depth(self) -> float: ...


class TextNetwork(nn.Module):
    """Maps hashed texts of at most `config.tokens` tokens to logits, or to embeddings if `config.classes` is 0.

    stem   maps texts to tokens, and says which of them are not padding, as `HashedTokens`
    block  drop rate -> one of the `config.depth` blocks, which map (tokens, which are present) to tokens
    """

    def __init__(self, config: TextConfig, stem: nn.Module, block: Callable[[float], nn.Module]):
        super().__init__()
        self.config = config
        self.stem = stem
        self.body = nn.ModuleList(map(block, linear_ramp(config.stochastic_depth, config.depth)))
        self.norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.head = classifier(config.channels, config.classes)
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def tokens(
        self, texts: Integer[Tensor, "text token feature"]
    ) -> tuple[Float[Tensor, "text token channel"], Bool[Tensor, "text token"]]:
        """The normalised tokens after the last block, and whether each is present.

        Raises UserError for a longer text.
        """
        require_fitting_tokens(texts, self.config.tokens)
        x, present = self.stem(texts)
        for block in self.body:
            x = block(x, present)
        return self.norm(x), present

    def embed(self, texts: Integer[Tensor, "text token feature"]) -> Float[Tensor, "text channel"]:
        return mean_of_present(*self.tokens(texts))

    def feature_maps(
        self, texts: Integer[Tensor, "text token feature"]
    ) -> tuple[Float[Tensor, "text channel 1 token"], ...]:
        """The tokens in a single row; those of padding have no meaning."""
        return (rearrange(self.tokens(texts)[0], "text token channel -> text channel 1 token"),)

    def forward(self, texts: Integer[Tensor, "text token feature"]) -> Float[Tensor, "text class"]:
        return self.head(self.embed(texts))
