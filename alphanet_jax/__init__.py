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
    result_sets    several such files taken together
    accuracy       accuracy of predictions, neighbors counted or not
    result_data    what reports need besides: the dataset, top-k, nearest classes
    wordnet        distances between classes in meaning
    semantic       which classes count as near, by features or by meaning
    tables         tables, in every format; accuracy_tables makes those of accuracy
    combos         what was learned for single classes
    figures        figures, and the numbers that they draw
    paper          the paper's experiments, beside its numbers

Around them: `config` (every field with its default and help), `cli` and `commands`
(what `main.py` runs), `by_name` (how what has a name is looked up and refused),
`checks`, `files` and `errors`.
"""

__version__ = "0.1.0"
