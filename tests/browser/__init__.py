"""A browser to look at pages with."""
