"""Tell the C library to keep the memory of freed tensors for the next ones.

glibc gives every large block back to the system when it is freed, and the next one is fetched page by page again. On
the PushT model 38 % of the CPU time of training went there, in the kernel; with these settings 0 to 4 %. The process
keeps its peak memory until it ends, so this is for the commands, whose process is theirs, and not for the library.
"""

from __future__ import annotations

import ctypes
import platform
import sys

MIB = 2**20
# name, its number in malloc.h, values to try
SETTINGS = (
    # Blocks up to this size come from the heap and not from the system one by one; older versions take 32 MiB at most.
    ("M_MMAP_THRESHOLD", -3, (2**31 - 1, 32 * MIB)),
    ("M_TRIM_THRESHOLD", -1, (2**31 - 1,)),  # so much of the heap's free end is not given back
    ("M_TOP_PAD", -2, (64 * MIB,)),  # and it grows by so much at a time
)


def keep_freed_memory() -> dict[str, int]:
    """Apply the settings to this process, where its C library is glibc.

    Returns:
        those that were accepted, by name; none on other systems, where nothing happens.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return {}
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return {}
    accepted = {}
    for name, number, values in SETTINGS:
        taken = next((value for value in values if mallopt(number, value) == 1), None)
        if taken is not None:
            accepted[name] = taken
    return accepted
