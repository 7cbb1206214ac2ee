"""The paper's experiments: what was published, what to run, tables, and a page.

    published      the numbers of the paper's tables
    grid           a dataset -> the points to train
    numbers        result files -> accuracy of splits
    paper_tables   both -> tables, each number beside the paper's
    paper_figures  which figures are drawn of which results
    page           tables and figures -> one HTML file
"""
