"""`python -m mixlab` is the command `mixlab`."""

from mixlab.cli.main import main

if __name__ == "__main__":
    main()
