"""Training: every seed of every setting at once, selected, tested and recorded.

    problem    a setting and its dataset, prepared: neighbors, frozen parts, samplers
    groups     runs that share a compiled program
    memory     how many of them train at a time
    programs   the compiled functions: those of one run, lifted over runs by `vmap`
    loop       epochs, checkpoints, watchers
    outcome    what came of it, and the arrays of a result file
    train      all of this in one function

Around them: `feature_pass` scores features larger than memory, `devices` places arrays
on several devices, `neighbor_cache`, `checkpoints` and `tb_logs` keep things on disk,
and `progress` has what people read while they wait.
"""
