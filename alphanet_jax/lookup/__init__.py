"""What a person asks for by name: activations, schedules and optimizers.

Names and parameters are PyTorch's or those of JAX and optax. `by_name` looks them up,
checks parameters and says what is allowed; the other files are its tables.
"""
