"""`edmjax compare`, from a checkout: python scripts/compare.py --help"""

from edmjax.cli.compare import command, main as main

if __name__ == "__main__":
    command()
