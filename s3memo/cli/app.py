"""The console script `s3memo`: so little that it can be interrupted before the rest is loaded."""

import sys


def main() -> None:
    """Run the command line and exit: 0 if done, 1 if it failed, 2 if asked wrongly, 130 if interrupted."""
    try:
        from s3memo.cli.running import run  # noqa: PLC0415  in here an interruption has its code

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
