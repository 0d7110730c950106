"""The network of SMS: backbones, the shared neck, heads and the fusion of their maps."""
