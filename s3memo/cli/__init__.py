"""The command line, `s3memo`: it comes with the extra `cli`. One module for each command, registered in `app`."""
