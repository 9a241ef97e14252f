"""Web: what visitors do in the shop, as it happens."""
