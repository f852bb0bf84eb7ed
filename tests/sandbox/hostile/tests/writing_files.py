"""A file written."""

with open('/tmp/acecoder_hostile', 'w') as file:
    file.write('x')
