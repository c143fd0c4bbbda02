"""Times and sizes as people write them for schedulers."""

from __future__ import annotations

import re

LONGEST = 366 * 86400  # seconds
LARGEST = 1 << 60  # bytes
TIMES = "write 90m, 2h, 1d, HH:MM:SS or D-HH:MM:SS, up to 366 days"
SIZES = "write a number with a unit, such as 64G"
# Slurm's forms: https://slurm.schedmd.com/sbatch.html#OPT_time
CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)
UNITS = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", re.ASCII)
SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?) ?([KMGTP])(?:iB?|B)?", re.ASCII | re.IGNORECASE)
MOST = 60  # minutes of an hour, seconds of a minute


def duration(text: str) -> int:
    """The seconds of a time: 90m, 2h, 1d12h, or as Slurm has it.

    Slurm reads MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES and
    DAYS-HOURS:MINUTES:SECONDS.

    Raises:
        ValueError: it is none of these, nothing, or more than a year; says what to write.
    """
    text = text.strip()
    clock = CLOCK.fullmatch(text)
    units = UNITS.fullmatch(text.lower()) if text else None
    if units:
        days, hours, minutes, seconds = (int(part or 0) for part in units.groups())
    elif clock:
        days, *rest = (int(part) if part else 0 for part in clock.groups())
        given = sum(part is not None for part in clock.groups()[1:])
        if clock.group(1) is None and given < len(rest):  # minutes, or minutes and seconds
            rest = [0, *rest[:2]]
        hours, minutes, seconds = rest
        below = (minutes, seconds) if clock.group(1) or given == len(rest) else (seconds,)
        if max(below) >= MOST:
            raise ValueError(TIMES)
    else:
        raise ValueError(TIMES)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 0 < total <= LONGEST:
        raise ValueError(TIMES)
    return total


def as_clock(seconds: int) -> str:
    """Seconds as Slurm has them: HH:MM:SS, or D-HH:MM:SS from a day on."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-" * bool(days) + f"{hour:02}:{minute:02}:{second:02}"


def size(text: str) -> int:
    """The bytes of a size such as 64G, 64GB or 64GiB, all of which are 64 * 2**30.

    Raises:
        ValueError: it is not one, or has no unit, which schedulers read differently.
    """
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(SIZES)
    number, unit = found.groups()
    whole, _, part = number.partition(".")
    factor: int = 1024 ** ("KMGTP".index(unit.upper()) + 1)
    total = int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)
    if not 0 < total <= LARGEST:
        raise ValueError(SIZES)
    return total


def as_size(number: int) -> str:
    """Bytes as people write them, in the largest unit that divides them: 64G."""
    for exponent, unit in ((5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if number and number % 1024**exponent == 0:
            return f"{number // 1024**exponent}{unit}"
    return str(number)
