"""Never ends."""

print("1")
while True:
    pass
