"""Decides whether to connect again after a failure, and after how long.

`actions` has the tables, `policy` what a user sets, `attempts` what follows for one client.
"""

from gqlwire.retry.actions import BEFORE_ACK, CLOSE_CODES, STATUSES, Action
from gqlwire.retry.attempts import Attempt
from gqlwire.retry.policy import RetryPolicy

__all__ = ["BEFORE_ACK", "CLOSE_CODES", "STATUSES", "Action", "Attempt", "RetryPolicy"]
