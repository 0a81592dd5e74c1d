"""s3memo compared with its peers, on one machine in one run: `python -m benchmarks.field`."""
