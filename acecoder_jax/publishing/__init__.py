"""The two datasets as others take them: converted, summed up, built for TFDS, with a card, on the hub."""
