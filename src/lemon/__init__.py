"""Reproduction of LEMON: smaller language models from larger ones by linear parameter fusion."""

__version__ = "0.1.0"
