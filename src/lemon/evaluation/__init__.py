"""Scoring a finished model: benchmark tasks through lm-eval, and held-out perplexity."""
