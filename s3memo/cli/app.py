"""The console script `s3memo`: as little as possible, so that Ctrl-C works before the rest is loaded."""

import sys


def main() -> None:
    """Run the command line and exit: 0 on success, 1 on failure, 2 on wrong usage, 130 if interrupted."""
    try:
        from s3memo.cli.running import run  # noqa: PLC0415  an interruption of the import, too, exits with 130

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
