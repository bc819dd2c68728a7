"""What verbs share of their options' words."""

DATA = (
    "digits, cifar10, imagenet, folder:PATH, csv:FILE, tar:FILE, wds:PATTERN, parquet:PATTERN, hf:NAME, tfds:NAME, or "
    "a set that torchvision knows, as in docs/data.md"
)
"""What names a set of images, for the help: `mixlab.data.sources.KINDS`, which the help would be slow to import."""
