"""Prompts whose answers are nobody else's: with personal data in them, or true only for a while. In
English here, in other languages by ``tongues``. And answers that tell somebody's numbers.

Most questions that say "my card" or "now" have one answer for everybody. So only what identifies
somebody counts as personal (a value, not the word for it), and only what asks about the present
counts as time-bound (not what tells when something happened to the asker).

Both are called for every prompt: the long patterns run only where a word that they need occurs.
Every pattern's work is linear in the prompt: its repeats are bounded, or begin where nothing of
their own kind stands before, or end the pattern.
"""

from __future__ import annotations

import re

from semcache_async.text.tongues import TONGUES, Tongue, plainly

__all__ = ["has_numbers_of_somebody", "is_personal", "is_time_bound", "says_who_asks"]

_WORDS = re.compile(r"[a-z]+")

_AFTER_AT = re.compile(r"@(?!\d{1,9}\.\d)[\w-]{1,63}\.[\w-]")
"""A domain, and no version: ``@types/node@18.0.0``."""
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_MACHINE = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?:/\d\d?)?")
_DIGITS = re.compile(r"\d(?:[ ().\-/]{0,2}\d){6,18}")
_CARD = re.compile(
    r"[2-6](?<![\w.,+-].)(?:"  # begins with what few characters are, so that it is found fast
    r"(?:(?<=[456])\d|(?<=2)[2-7]|(?<=3)5)\d\d[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|"
    r"(?<=3)[47]\d\d[ -]?\d{6}[ -]?\d{5}|(?<=3)[0689]\d\d[ -]?\d{6}[ -]?\d{4}"
    r")(?![\w-]|[.,]\d)"
)
_SOCIAL = re.compile(r"[0-8](?<![\w-].)\d\d(?<!000|666)-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_IBAN = re.compile(r"[0-9](?<=(?<![A-Za-z0-9])[A-Za-z]{2}.)\d(?: ?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"(\D\D)(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
        "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
        "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
        "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
        "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30",
    )
}
"""Characters of an account number, by country (the SWIFT registry)."""
_SECRET = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{16}|AKIA[A-Z0-9]{12}|gh[pousr]_\w{20}|xox[abprs]-\w{8})|"
    r"[\w-]{10}\.eyJ|-----BEGIN [A-Z ]{0,24}PRIVATE KEY"
)
_SECRET_MARKS = ("sk-", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "xox", "eyJ", "-----BEGIN")

_TWO_WORDS = r"(?:[\w-]{1,40} ){0,2}"
_IS = r"(?: is|'s|:| =)"
_I_AM = r"\b(?:i am|i'm)"
_VALUE_NAMES = (
    r"(?:address|number|no\.?|id|ssn|pin|passcode|zip(?: code)?|postcode|date of birth|dob|"
    r"birthday|salary|income|balance)"
)
_TOLD = re.compile(
    # "my name is Ann", but not "my name is spelled wrong"
    rf"\bmy (?:full |first |last |maiden |sur)?name{_IS} (?!(?:not|wrong|"
    r"mis\w{0,24}|incorrect\w{0,24}|in|on|un\w{0,24}|spelled|spelt|printed|written|different|"
    r"changed|changing|being|too|still|no|now|so|also|already|showing|shown|listed|a|the|and|or|"
    r"at)\b)\w|"
    rf"{_I_AM} (?:called|named) \w|{_I_AM} \d{{1,3}} years? old\b|"
    rf"\bmy {_TWO_WORDS}{_VALUE_NAMES}{_IS} ?\S{{0,24}}\d|"
    rf"\bmy {_TWO_WORDS}(?:password|passphrase|api key|secret){_IS} ?"
    r"(?:[\"'`“]\S|\S{0,64}[\d$%^&*_#@]\S)|"
    r"\bi was born (?:on|in) (?:\w{1,24} ){0,2}\d|"
    r"\bi (?:was|am|have been|'ve been) (?:just |recently )?diagnosed\b"
)
_OWN = re.compile(
    r"\bwhat(?:'s| is) my (?:\w{1,24} ){0,2}balance\b|"
    r"\bwhere(?:'s| is) my (?:parcel|package|order|delivery|shipment)\b"
)
_I_AM_FROM = re.compile(r"\b(?:I am|I'm|I\u2019m) [A-Z][\w'-]{1,40} from [A-Z]")
_TOLD_WORDS = frozenset(
    _WORDS.findall(
        "name surname called named old address number no id ssn pin passcode zip postcode dob "
        "birthday birth salary income balance password passphrase key secret born diagnosed"
    )
)
_OWN_WORDS = frozenset(_WORDS.findall("balance parcel package order delivery shipment"))

_CHANGING = (
    r"(?:weather|temperature|forecast|news|headlines?|time|date|year|month|events?|prices?|cost|"
    r"value|rates?|stocks?|shares?|market|president|prime minister|chancellor|ceo|government|"
    r"leader|champions?|holder|score|standings|results?|version|release|traffic|situation|"
    r"population|record|trends?|updates?|model|weekday)"
)
_OFFICE = (
    r"(?:president|prime minister|chancellor|ceo|pope|king|queen|mayor|world champion|head coach)"
)
_PRESENT = re.compile(
    rf"\bwho(?:'s| is) (?:the )?{_TWO_WORDS}{_OFFICE}\b|\bopen (?:right )?now\b|"
    r"\b(?:current|latest|newest|live|up[- ]to[- ]date|real[- ]?time|most recent|recent|"
    rf"today's)(?:ly)? {_TWO_WORDS}{_CHANGING}\b|"
    rf"\b(?:today|tonight|tomorrow|yesterday)'s [\w ]{{0,24}}{_CHANGING}\b|"
    r"\b(?:what|which) (?:time|day|date|year|month|weekday) is (?:it|today|this)\b|"
    r"\bwhat(?:'s| is) the (?:time|date|weather|temperature)\b"
    r"(?! (?:frame|period|limit|line|span|scale|difference|of|for|to))|"
    r"\bbreaking news\b|\bin the news\b|\bweather (?:in|for|at|like|forecast|be)\b|"
    r"\bis it (?:raining|snowing)\b|\b(?:stock|share|bitcoin|btc|ethereum|gold|oil) price\b|"
    r"\bprice of (?:a |an |one )?(?:bitcoin|btc|ethereum|gold|oil|silver)\b"
)
_WHEN = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|nowadays|right now|as of now|these days|at present|"
    r"at (?:the|this) (?:very )?moment|currently|last night|so far this \w{1,24}|"
    r"(?:this|last|next) (?:morning|afternoon|evening|weekend|week|month|quarter|season|year|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday))\b"
)
_ASKER = re.compile(r"\b(?:i|my|me|mine|we|our|us|im|ive)\b")
_ASKS_THE_PRESENT = re.compile(
    r"\s{0,8}(?:so |and |but |hi |hello |hey |please |ok ){0,8}"
    r"(?:what(?:'s| is| are| was| were| will| happen)|who|which \w{1,24} (?:is|are|was|were|will)|"
    r"(?:tell|show|give) me (?:what|who|which|the))\b"
)
_PRESENT_WORDS = frozenset(
    _WORDS.findall(
        "today todays tonight tomorrow yesterday nowadays now days present moment currently "
        "current recent latest newest live date time real weather news raining snowing price "
        "night so this last next temperature president prime chancellor ceo pope king queen mayor "
        "champion coach"
    )
)
_SENTENCE_ENDS = re.compile(r"(?<![.?!\n])[.?!\n]+(?=\s|$)")


def has_numbers_of_somebody(text: str) -> bool:
    """Does ``text`` carry a card, account or social security number, or a secret? Unlike telephones
    and e-mail addresses, no service tells everybody its own."""
    if any(_luhn([int(c) for c in found.group() if c.isdigit()]) for found in _CARD.finditer(text)):
        return True
    if _SOCIAL.search(text) or any(
        _is_iban(text[one.start() - 2 : one.end()]) for one in _IBAN.finditer(text)
    ):
        return True
    return any(mark in text for mark in _SECRET_MARKS) and bool(_SECRET.search(text))


def is_personal(prompt: str) -> bool:
    """Does ``prompt`` say who asks, or ask for what is theirs alone (a balance, a parcel)?"""
    if says_who_asks(prompt):
        return True
    lower = prompt.lower().replace("\u2019", "'")
    if not _OWN_WORDS.isdisjoint(_WORDS.findall(lower)) and _OWN.search(lower):
        return True
    plain = plainly(lower)
    return any(tongue.own.search(plain) for tongue in TONGUES.values())


def says_who_asks(prompt: str) -> bool:
    """Does ``prompt`` carry an e-mail address, a telephone, card, account or identity number, a
    secret, or say who its writer is?"""
    if has_numbers_of_somebody(prompt):
        return True
    if "@" in prompt:
        for found in _AFTER_AT.finditer(prompt):
            before = prompt[found.start() - 1 : found.start()]
            if before.isalnum() or before in ("_", "-", "."):
                return True
    for found in _DIGITS.finditer(prompt):
        start, end = found.span()
        around = prompt[max(0, start - 2) : start], prompt[end : end + 2]
        if _is_identifying(found.group(), *around):
            return True
    lower = prompt.lower().replace("\u2019", "'")
    if not _TOLD_WORDS.isdisjoint(_WORDS.findall(lower)) and _TOLD.search(lower):
        return True
    if "from" in lower and _I_AM_FROM.search(prompt):
        return True
    plain = plainly(lower)
    return any(tongue.told.search(plain) for tongue in TONGUES.values())


def is_time_bound(prompt: str) -> bool:
    """Does ``prompt`` ask about the present, so that its answer grows wrong by itself?"""
    lower = prompt.lower().replace("\u2019", "'")
    if not _PRESENT_WORDS.isdisjoint(_WORDS.findall(lower)):
        if _PRESENT.search(lower):
            return True
        if _WHEN.search(lower) and any(map(_asks_when, _SENTENCE_ENDS.split(lower))):
            return True
    plain = plainly(lower)
    return any(_asks_now(tongue, plain) for tongue in TONGUES.values())


def _asks_now(tongue: Tongue, plain: str) -> bool:
    if tongue.present.search(plain):
        return True
    return bool(tongue.when.search(plain)) and any(
        tongue.when.search(sentence) and not tongue.asker.search(sentence)
        for sentence in _SENTENCE_ENDS.split(plain)
    )


def _asks_when(sentence: str) -> bool:
    """A sentence that names a time, other than one in which the asker tells of themselves."""
    if not _WHEN.search(sentence):
        return False
    return not _ASKER.search(sentence) or bool(_ASKS_THE_PRESENT.match(sentence))


def _is_identifying(text: str, before: str, after: str) -> bool:
    """A run of digits that is a telephone, card or social security number: not a plain number, a
    date or a range of years. ``before`` and ``after`` are the two characters on each side."""
    if before[-1:].isalnum() or after[:1].isalnum() or after[:1] == "_":
        return False
    if (before[-1:] in (".", ",") and before[:1].isdigit()) or (
        after[:1] in (".", ",") and after[1:].isdigit()
    ):
        return False
    if re.fullmatch(r"\d+\.\d+", text) or _MACHINE.fullmatch(text):
        return False
    digits = [int(char) for char in text if char.isdigit()]
    if 13 <= len(digits) <= 19 and _luhn(digits):
        return True
    if len(digits) > 15:
        return False
    if before.endswith(("+", "+(")) or text.startswith("00"):
        return len(digits) >= 8
    if re.fullmatch(r"\d{3}-\d{2}-\d{4}", text):
        return True
    groups = re.findall(r"\d+", text)
    if len(groups) == 1:
        return 10 <= len(digits) <= 11
    if all(len(group) == 4 and group[:2] in ("18", "19", "20", "21") for group in groups):
        return False  # years
    if re.fullmatch(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}.*", text):  # a date
        return False
    return len(digits) >= 9 and len(groups) <= 5 and all(len(group) >= 2 for group in groups[1:])


def _luhn(digits: list[int]) -> bool:
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return any(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Is it of its country's length, and do its check digits fit, with or without trailing words
    that look like part of it?"""
    letters = text.replace(" ", "")
    length = _IBAN_LENGTHS.get(letters[:2].upper(), 99)
    ends = [at for at, char in enumerate(text, 1) if char != " "]
    if len(letters) < length or text[ends[length - 1] :][:1].isalnum() or not letters.isascii():
        return False
    turned = letters[4:length] + letters[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1
