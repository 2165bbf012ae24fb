"""How forecasts are judged: metrics, alarms, the scorecards; no detector is named here."""
