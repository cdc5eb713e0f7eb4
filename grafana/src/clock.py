"""Patterns of the clock and the calendar: what happened in each hour of the day, on each weekday, at the month's end.

All in UTC: PromQL knows no other.
"""

from __future__ import annotations

from typing import Final

from grafana.src.promql import or_none

PART: Final = "part"  # the label with the hour or the day

# Codes of three digits sort the same as text and as numbers.
HOURS_OF_DAY: Final = {f"{100 + hour}": (f"{hour:02}", "") for hour in range(24)}
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAYS_OF_WEEK: Final = {f"{101 + day}": (name, "") for day, name in enumerate(WEEKDAYS)}
DAYS_AND_MONTH_END: Final = {**DAYS_OF_WEEK, "108": ("Mo. end", "")}

_HOUR: Final = "100 + hour(vector(time() - 1800))"  # the middle of the hour that has passed
_NOON: Final = "vector(time() - 43200)"
_WEEKDAY: Final = f"101 + (day_of_week({_NOON}) + 6) % 7"
_MONTH_END: Final = f"108 + 0 * (days_in_month({_NOON}) - day_of_month({_NOON}) < 2)"


def _pattern(growth: str, code: str, window: str) -> str:
    grown = or_none(f"sum({growth})", window.partition(":")[2], "")
    counted = f'{grown} * on () group_right () count_values("{PART}", {code})'
    return f"sum by ({PART}) (avg_over_time(({counted})[{window}]))"


def by_hour(growth: str) -> str:
    """The mean of seven days. growth: increases of counters, with any labels, in the hour before."""
    return _pattern(growth, _HOUR, "7d:1h")


def by_weekday(growth: str) -> str:
    """The mean of four weeks. growth: increases of counters, with any labels, in the day before.

    The month's last two days count twice, as weekdays and as the month's end.
    """
    return f"({_pattern(growth, _WEEKDAY, '28d:1d')} or {_pattern(growth, _MONTH_END, '28d:1d')})"
