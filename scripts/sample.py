"""`edmjax sample`, from a checkout: python scripts/sample.py --help"""

from edmjax.cli import load

main = load("sample")

if __name__ == "__main__":
    main()
