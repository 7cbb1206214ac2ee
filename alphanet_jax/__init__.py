"""AlphaNet in JAX: mends the rare classes of a trained long-tailed classifier.

The modules in the order in which data goes through them; imports go the same way:

    torch_files    reads PyTorch's and other files, running nothing of them
    registry       which files make up a dataset
    convert        those files -> plain arrays
    dataset        arrays -> a checked `Dataset`
    nn_search      mean features -> nearest base classes          (pure)
    scores         features -> scores; coefficients -> logits     (pure)
    feature_pass   those two over features larger than memory
    activations    activations by PyTorch's and JAX's names       (pure)
    model          source classifiers -> coefficients             (pure)
    sampling       random key -> the batches of an epoch          (pure)
    schedules      learning rate schedules, PyTorch's and optax's (pure)
    optimizers     optimizers, PyTorch's and optax's              (pure)
    train_step     loss, gradient, one step, one epoch            (pure)
    eval           predictions, accuracy, top-5, F1               (pure)
    experiment     all seeds of a setting, compiled as one
    results        one file, readable with NumPy alone
    tables         what a person reads

Around them: `config` (every field with its default and help), `cli` and `commands`
(what `main.py` runs), `by_name` (how what has a name is looked up and refused),
`checks`, `files` and `errors`.
"""

__version__ = "0.1.0"
