"""Recursion without end."""

def again():
    again()


import sys

sys.setrecursionlimit(10**9)
again()
