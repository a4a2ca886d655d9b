"""Spark jobs of lakerank. Only runnable jobs stand at this level; the rooms are the packages below."""
