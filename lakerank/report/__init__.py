"""The report: summaries of tables, figures as SVG, and one HTML page; PNG plots for jobs."""
