"""Link-spam defence: farms found by who supports them, and ranks in which they count for nothing."""
