"""The linear map from a large model to a small one, and what is done with it."""
