"""`python -m lakehouse_assets.cli` is `lakehouse`. Nothing else belongs here."""

from lakehouse_assets.cli import main

if __name__ == "__main__":
    main()
