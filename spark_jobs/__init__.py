"""Runnable Spark jobs: settings, read, one call of the library, write. The library is `lakerank`."""
