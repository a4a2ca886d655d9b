"""Where the checkout is, for tests that look at the project itself."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
