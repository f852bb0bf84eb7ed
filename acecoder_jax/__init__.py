"""acecoder_jax: AceCoder's whole loop, from seed code to a trained code model, in JAX and Flax."""
