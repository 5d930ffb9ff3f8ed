"""Math answers: find the final answer of a completion and decide whether it equals the gold answer.

`verify` runs in the caller's process on bounded work; `verify_many` adds hard limits in killable processes. The
comparison is on our own parser and exact or 60-digit arithmetic: model text is never evaluated.
"""

from rewards.math.extract import extract
from rewards.math.verify import verify, verify_many

__all__ = ["extract", "verify", "verify_many"]
