"""Prediction of one column of a table from the other columns, with a multilayer perceptron.

    python -m jaxnets.train --config=table --config.data.path=my_table.csv --config.data.target=species

For a quantity instead of a class:

    python -m jaxnets.train --config=table --config.data.path=my_table.csv --config.data.target=price \\
        --config.data.target_type=quantities --config.task=tasks.regression

Expected on the wine data of scikit-learn (178 rows of 13 features, 3 classes): a test accuracy of 96 to 100 % on 26
rows.
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.table", "path": "table.csv", "target": "target", "batch_size": 32},
        "model": {"name": "modules.MLP", "hidden_sizes": (64, 64), "dropout": 0.1},
        "optimizer": {"learning_rate": 2e-3, "warmup_steps": 50, "end_lr_factor": 0.01, "weight_decay": 0.01},
        "train": {"log_every": 50},
    }
