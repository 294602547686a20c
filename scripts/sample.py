"""`edmjax sample`, from a checkout: python scripts/sample.py --help"""

from edmjax.cli.sample import main

if __name__ == "__main__":
    main()
