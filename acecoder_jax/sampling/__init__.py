"""The decoding engine: slots, KV cache, token sampling, the scheduler."""
