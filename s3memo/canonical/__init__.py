"""The canonical form of a value, and its digest: equal in every process, on every machine and Python version.

`form` has the grammar and writes it; the other modules reduce types to those in the grammar.
"""

from s3memo.canonical import builtin as _builtin  # noqa: F401  it registers types, as the next does
from s3memo.canonical import classes as _classes  # noqa: F401
from s3memo.canonical.files import ByContent, Convert, UnknownHint, by_content
from s3memo.canonical.form import MAX_DEPTH, Blocks, FieldsOf, Items, UnkeyableError, form_digest, is_exact
from s3memo.canonical.names import home_namespace, is_reachable, main_name, module_name, note_sender, qualified_name
from s3memo.canonical.registry import Fields, Reduce, add_family, add_type, register_type

__all__ = [
    "MAX_DEPTH",
    "Blocks",
    "ByContent",
    "Convert",
    "Fields",
    "FieldsOf",
    "Items",
    "Reduce",
    "UnkeyableError",
    "UnknownHint",
    "add_family",
    "add_type",
    "by_content",
    "form_digest",
    "home_namespace",
    "is_exact",
    "is_reachable",
    "main_name",
    "module_name",
    "note_sender",
    "qualified_name",
    "register_type",
]
