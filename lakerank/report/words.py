"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
import unicodedata

# Marks that turn the direction of all text after them, also beyond the title they stand in.
_TURNS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tidy(text: str, longest: int) -> str:
    """One line without control characters (XML forbids most), cut at the end to `longest` characters."""
    plain = re.sub(r"\s+", " ", text)
    kept = "".join(c for c in plain if c not in _TURNS and not _unprintable(c)).strip()
    return kept if len(kept) <= longest else kept[: longest - 1].rstrip() + "…"


def tidy_middle(text: str, longest: int) -> str:
    """Like `tidy`, but cut in the middle: addresses differ at their ends."""
    kept = tidy(text, max(longest, len(text)))
    if len(kept) <= longest:
        return kept
    head = (longest - 1) // 2
    return f"{kept[:head]}…{kept[len(kept) - (longest - 1 - head) :]}"


def _unprintable(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff"


def thousands(n: int) -> str:
    """1234567 → 1,234,567."""
    return f"{n:,}"


def decimals(x: float) -> str:
    """Four significant digits, with an exponent only where a plain number would be long: 0.8731, 41.2, 3.1e-07."""
    if not math.isfinite(x):
        return str(x)
    if x != 0 and (abs(x) < 1e-4 or abs(x) >= 1e7):
        return f"{x:.3g}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.4g}"


def short(x: float) -> str:
    """Tick labels: 1500 → 1.5k, 2000000 → 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{letter}"
    return f"{x:.3g}"


def power(x: float) -> str:
    """Ticks of a logarithmic axis: 1e-08 → 10⁻⁸; nothing between the powers of ten."""
    exponent = round(math.log10(x)) if x > 0 else 0
    if x <= 0 or not math.isclose(x, 10.0**exponent, rel_tol=1e-6):
        return ""
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)


def percent(share: float) -> str:
    """0.1234 → 12 %; small shares keep a digit."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def width_em(text: str) -> float:
    """About how wide a text is set, in units of its font size; a little more than most fonts need."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.57 for c in text)
