"""The time zones of pytz and dateutil, by what they pickle; Python's own are in `builtin`."""

from __future__ import annotations

from typing import Any

from s3memo.canonical.registry import add_family, add_named_type


def _is_pytz(kind: type) -> bool:
    """Whether it is one of the classes that pytz creates for each zone."""
    return kind.__module__.partition(".")[0] == "pytz" and hasattr(kind, "localize")


def _pickled(zone: Any) -> Any:
    return zone.__reduce__()[1]


add_family(_is_pytz, "zone", _pickled)
add_named_type("dateutil.tz.tz:tzutc", vars)
add_named_type("dateutil.tz.tz:tzoffset", vars)
add_named_type("dateutil.tz.tz:tzfile", vars)  # with its transitions, since a file of any name may hold any
add_named_type("dateutil.zoneinfo:tzfile", vars)
add_named_type("dateutil.tz.tz:_ttinfo", lambda span: span.__getstate__())
