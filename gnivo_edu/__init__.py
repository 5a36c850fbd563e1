"""Learn, see and check critic-free, implicit-value reinforcement learning for language models."""

__version__ = "0.1.0"
