"""`python -m tailsight` is the command `tailsight`."""

from tailsight.cli import main

if __name__ == "__main__":
    main()
