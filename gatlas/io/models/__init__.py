"""Files of networks: model folders, weights, tokenizers."""
