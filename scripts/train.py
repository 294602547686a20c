"""`edmjax train`, from a checkout: python scripts/train.py --help"""

from edmjax.cli import load

main = load("train")

if __name__ == "__main__":
    main()
