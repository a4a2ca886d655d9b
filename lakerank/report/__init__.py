"""The report's room: small summaries of tables, figures as SVG, and the page they stand on."""
