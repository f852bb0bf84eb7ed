"""The Qwen2.5 decoder: config, weights in and out, sharding, attention."""
