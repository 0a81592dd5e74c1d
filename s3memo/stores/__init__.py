"""Where the bytes are: in this process, in one file on this machine, or in S3."""
