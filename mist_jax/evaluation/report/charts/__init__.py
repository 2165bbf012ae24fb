"""The report's charts, as Vega-Lite specifications of what the summary says."""
