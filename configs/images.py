"""Images in a folder for each class, by a ResNet-18.

python -m jaxnets.train --config=images --config.data.path=folder

The folder holds ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, or ``<class>/*.jpg`` alone, of which a part is held
out then. The README has figures of an example.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "tasks.image_classification",
                "mean": (0.485, 0.456, 0.406),
                "deviation": (0.229, 0.224, 0.225),
                "crop": 0,
                "scale": 0.4,
                "flip": True,
                "rotation": 0.0,
                "cutout": 0,
                "mixup": 0.0,
                "label_smoothing": 0.1,
            },
            "data": {
                "name": "data.images",
                "path": "images",
                "size": 64,
                "channels": 3,
                "batch": 32,
                "validation": 0.15,
                "test": 0.15,
                "corrupt": "refuse",
                "memory": 4.0,
            },
            "model": {"name": "convolution.resnet18", "dtype": "float32"},
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.05,
                "clip": 1.0,
                "average": 0.99,
            },
            "train": {"steps": 2000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 100, "log_every": 10},
        }
    )
