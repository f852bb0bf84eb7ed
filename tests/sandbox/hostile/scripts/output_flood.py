"""Output without end."""

while True:
    print("9731" * 1000)
