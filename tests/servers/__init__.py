"""The S3 servers that the tests talk to, started as they are needed. README.md says what each is good for."""
