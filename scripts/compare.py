"""`edmjax compare`, from a checkout: python scripts/compare.py --help"""

from edmjax.cli import load

main = load("compare")

if __name__ == "__main__":
    main()
