"""How alike the layers of a model are."""
