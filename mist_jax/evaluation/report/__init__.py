"""What the results say: summary.json, figures and report.html."""
