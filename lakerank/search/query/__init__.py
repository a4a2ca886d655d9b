"""From an open index to ranked answers, without Spark."""
