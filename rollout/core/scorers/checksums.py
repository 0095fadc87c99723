"""Checksums and dates inside the numbers that people and their accounts have.

Sources: ISO 13616 (IBAN), ISO/IEC 7812-1 (cards), ISO 7064 MOD 11,10 (German tax id), GB 11643-1999 (Chinese id),
Social Security Administration (numbers that are never given), INSEE (NIR), Korean Resident Registration Act.
"""

from __future__ import annotations

import re
from datetime import date

# First digits of the large card networks, and how long their numbers are.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
# Known to everybody: it was printed on sample cards in wallets.
_ADVERTISED_SSNS = {"078051120", "219099999"}


def digits_of(text: str) -> str:
    """The ASCII digits of a text."""
    return re.sub(r"[^0-9]", "", text)


def is_iban(text: str) -> bool:
    """The length of its country, and modulo 97."""
    dense = text.replace(" ", "")
    if _IBAN_LENGTHS.get(dense[:2]) != len(dense):
        return False
    return int("".join(str(int(letter, 36)) for letter in dense[4:] + dense[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """A number of one of the large networks that passes Luhn's check."""
    digits = digits_of(text)
    if not _CARD.fullmatch(digits) or len(set(digits)) == 1:
        return False
    doubled = (int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_us_ssn(text: str) -> bool:
    """None of the numbers that are never given out. It has no checksum: only its written form is accepted."""
    digits = digits_of(text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    never = area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000"
    return not never and digits not in _ADVERTISED_SSNS


def is_korean_rrn(text: str) -> bool:
    """A date of birth, then modulo 11; numbers given since October 2020 have no checksum and are missed."""
    digits = digits_of(text)
    century = 2000 if digits[6] in "3478" else 1900
    if not _is_date(century + int(digits[:2]), digits[2:4], digits[4:6]):
        return False
    total = _weighted(digits[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5))
    return (11 - total % 11) % 10 == int(digits[12])


def is_german_tax_id(text: str) -> bool:
    """One digit of the first ten is there twice or three times, then the check digit."""
    digits = digits_of(text)
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if counts not in ([*[1] * 8, 2], [*[1] * 7, 3]):
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def is_chinese_id(text: str) -> bool:
    """A date of birth, then modulo 11 with X for ten."""
    if not _is_date(int(text[6:10]), text[10:12], text[12:14]) or text[6:8] not in ("19", "20"):
        return False
    total = _weighted(text[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return "10X98765432"[total % 11] == text[17].upper()


def is_french_nir(text: str) -> bool:
    """97 less the number modulo 97; 2A and 2B (Corsica) count as 19 and 18."""
    dense = text.replace(" ", "").replace("2A", "19").replace("2B", "18")
    return dense.isdigit() and 97 - int(dense[:13]) % 97 == int(dense[13:])


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _is_date(year: int, month: str, day: str) -> bool:
    try:
        date(year, int(month), int(day))
    except ValueError:
        return False
    return True
