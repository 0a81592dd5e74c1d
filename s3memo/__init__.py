"""s3memo remembers what Python functions returned, in S3, so that no later run computes it again."""

__version__ = "0.1.0"
