"""What personal data looks like: small recognisers with a checksum wherever the kind has one.

They prefer to miss something over crying wolf: numbers of orders and tickets, amounts, dates, addresses that are
reserved for examples (example.com, 192.0.2.0/24, 555-0100) and mailboxes of a role (support@) are no personal data.
Names and postal addresses have no form that could be recognised; for these there is Presidio.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from types import MappingProxyType

from rollout.core.scorers import checksums

MAX_LETTERS = 200_000
_ROLES = re.compile(
    r"abuse|admin|billing|care|contact|customerservice|feedback|hello|help|helpdesk|hi|info|jobs|kontakt|legal|mail"
    r"|marketing|news|newsletter|no-?reply|office|orders?|postmaster|press|privacy|returns|sales|security|services?"
    r"|shop|support|team|webmaster"
)
_RESERVED = re.compile(r"(?:\A|\.)(?:example\.(?:com|net|org)|example|invalid|localhost|test|local)\Z")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Found:
    """One find: its kind, and the text as it stands."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A form, and the check that tells real ones from what only looks so. Patterns have no nested repetition."""

    pattern: str
    is_real: Callable[[str], bool] = lambda _: True


def find_personal_data(text: str) -> tuple[Found, ...]:
    """Everything that is recognised in the first 200,000 letters, kind by kind."""
    return tuple(_find(text[:MAX_LETTERS]))


def _find(text: str) -> Iterator[Found]:
    for kind, pattern, is_real in _compiled(has_digit=bool(_DIGIT.search(text))):
        for match in pattern.finditer(text):
            if is_real(match[0]):
                yield Found(kind, match[0])


@cache
def _compiled(*, has_digit: bool) -> tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...]:
    # Most answers have no digit: only an address can be in them.
    return tuple(
        (kind, re.compile(each.pattern), each.is_real)
        for kind, each in RECOGNISERS.items()
        if has_digit or kind in ("email", "secret")
    )


def _is_mailbox(text: str) -> bool:
    name, _, host = text.lower().rpartition("@")
    return not _ROLES.fullmatch(name) and not _RESERVED.search(host)


def _is_phone(text: str) -> bool:
    digits = checksums.digits_of(text)
    return len(set(digits)) > 2 and not re.search(r"55501\d\d\Z", digits)


def _is_public_address(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


# Nothing of a word or of a longer number before or behind: `A12-345-678-9012` is no phone.
_ALONE = r"(?<![\w.+#/-])"
_END = r"(?![\w-])(?!\.\d)"
_PHONE = "|".join(
    (
        r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,5}(?:[ .-]?\d{2,5}){1,4}",  # international
        r"\([2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}",  # North America
        r"(?:1[ .-])?[2-9]\d\d([.-])[2-9]\d\d\1\d{4}",
        r"01[016789]-?\d{3,4}-\d{4}|0(?:2|[3-6]\d)-\d{3,4}-\d{4}",  # Korea
        r"0[789]0-\d{4}-\d{4}|0[1-9]-\d{4}-\d{4}|0[1-9]\d-\d{3}-\d{4}|0[1-9]\d\d-\d\d-\d{4}",  # Japan
        r"0[1-9](?: \d\d){4}|0[1-9](?:\.\d\d){4}",  # France
        r"0\d{2,5}[ /]\d{3,4}[ -]?\d{2,5}",  # Germany
        r"1[3-9]\d-\d{4}-\d{4}",  # China
    )
)
_KEYS = "|".join(
    (
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"gh[pousr]_[0-9A-Za-z]{36}",
        r"github_pat_[0-9A-Za-z_]{60,90}",
        r"glpat-[0-9A-Za-z_-]{20}",
        r"xox[abprs]-[0-9A-Za-z-]{20,100}",
        r"AIza[0-9A-Za-z_-]{35}",
        r"[sr]k_live_[0-9A-Za-z]{16,100}",
        r"sk-(?:ant-|proj-)?[0-9A-Za-z_-]{32,200}",
        r"hf_[0-9A-Za-z]{30,60}",
        r"eyJ[0-9A-Za-z_-]{10,1000}\.eyJ[0-9A-Za-z_-]{10,2000}\.[0-9A-Za-z_-]{10,1000}",
    )
)

RECOGNISERS: Mapping[str, Recogniser] = MappingProxyType(
    {
        "email": Recogniser(
            r"(?<![\w.%+-])[A-Za-z0-9_%+][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])",
            _is_mailbox,
        ),
        "phone": Recogniser(rf"{_ALONE}(?:{_PHONE}){_END}", _is_phone),
        "iban": Recogniser(
            r"(?<!\w)[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", checksums.is_iban
        ),
        "card": Recogniser(rf"{_ALONE}\d(?:[ -]?\d){{12,18}}{_END}", checksums.is_card),
        "ip": Recogniser(
            r"(?<![\w.:])(?<![vV])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:])(?!\.\d)",
            _is_public_address,
        ),
        "secret": Recogniser(rf"(?<!\w)(?:{_KEYS})(?!\w)|-----BEGIN (?:[A-Z]{{2,10}} )?PRIVATE KEY-----"),
        "us_ssn": Recogniser(rf"{_ALONE}\d{{3}}-\d\d-\d{{4}}{_END}", checksums.is_us_ssn),
        "kr_rrn": Recogniser(rf"{_ALONE}\d{{6}}-?[1-8]\d{{6}}{_END}", checksums.is_korean_rrn),
        "de_tax_id": Recogniser(rf"{_ALONE}[1-9]\d(?: ?\d{{3}}){{3}}{_END}", checksums.is_german_tax_id),
        "cn_id": Recogniser(rf"{_ALONE}\d{{17}}[\dXx]{_END}", checksums.is_chinese_id),
        "fr_nir": Recogniser(
            rf"{_ALONE}[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{{3}} ?\d{{3}} ?\d\d{_END}",
            checksums.is_french_nir,
        ),
    }
)
"""By kind."""
