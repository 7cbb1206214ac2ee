"""From names to functions: activations, schedules and optimizers.

Names and parameters are PyTorch's or those of JAX and optax. `activations`, `schedules`
and `optimizers` are tables; `transforms` has PyTorch's update rules. `by_name` looks
names up and checks parameters, and `params` reads and writes parameters as text; these
two import no JAX.
"""
