"""The model families: MLP-Mixer, ConvMixer and DaViT, one file for each."""
