"""From downloaded archives to a model folder, packed text and benchmark rows."""
