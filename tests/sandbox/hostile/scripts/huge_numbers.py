"""Numbers that are dear to compare."""

print("9.731e999999999999999999 " + "1" * 500_000)
