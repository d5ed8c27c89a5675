"""Image classification with a ResNet-18, from a folder of images for each class.

    python -m jaxnets.train --config=images --config.data.path=folder

The folder holds ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, or only ``<class>/*.jpg``, from which the test and
validation splits are then sampled. The README has the results of an example.
"""


def get_config() -> dict:
    return {
        "task": {
            "name": "tasks.image_classification",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "scale": 0.4,
            "flip": True,
            "label_smoothing": 0.1,
        },
        "data": {"name": "data.images", "path": "images", "size": 64, "batch_size": 32},
        "model": {"name": "convolution.resnet18"},
        "optimizer": {"warmup_steps": 100, "end_lr_factor": 0.01, "b2": 0.99, "weight_decay": 0.05, "ema_decay": 0.99},
        "train": {"steps": 2000, "log_every": 10},
    }
