"""`edmjax train`, from a checkout: python scripts/train.py --help"""

from edmjax.cli.train import main

if __name__ == "__main__":
    main()
