"""How forecasts are judged: metrics, alarms, views, verdicts; no detector is named here."""
