"""Inventory: what the warehouse holds, and for how long it will last."""
