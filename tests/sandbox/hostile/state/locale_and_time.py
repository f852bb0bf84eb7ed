"""Locale, time zone, umask and directory changed."""

import locale
import os
import time


def solve(x):
    os.environ['TZ'] = 'Asia/Tokyo'
    time.tzset()
    for call in (lambda: locale.setlocale(locale.LC_ALL, 'C'), lambda: os.umask(0), lambda: os.chdir('/tmp')):
        try:
            call()
        except (OSError, locale.Error):
            pass
    return 0
