"""What a person asks for by name: activations, schedules and optimizers.

Names and parameters are PyTorch's or those of JAX and optax. `activations`, `schedules`
and `optimizers` are tables; rules that take more than a line are in `curves` and
`transforms`. `by_name` looks names up, checks parameters and says what is allowed, and
`params` reads and writes parameters as text; these two import no JAX.
"""
