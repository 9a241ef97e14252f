"""Exchange rates: the euro reference rates by which sales are converted."""
