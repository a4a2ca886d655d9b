"""Patches on disk and their way to the device."""
