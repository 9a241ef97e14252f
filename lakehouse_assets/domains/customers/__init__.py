"""Customers: who they are, what each has been worth, and how cohorts stay."""
