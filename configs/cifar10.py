"""ResNet-20 on CIFAR-10 (He et al. 2016), from an npz file of JPEG bytes.

    python -m jaxnets.train --config=cifar10 --config.data.path=cifar10_jpgbytes.npz

The recipe is the published one, except for the learning rate (warm-up and cosine decay instead of two steps) and the
weight decay (matrices only). The file holds ``jpg_train`` (bytes), ``off_train`` (offsets of the images), ``y_train``,
and the same arrays for ``test``. ``data.image_arrays`` reads arrays of pixels instead (``--config.data.name``).
Published, for the original images: a test accuracy of 91.25 % after 64,000 steps (182 epochs). A step takes 0.45
seconds on two CPU cores; ``--config.train.steps=7500`` takes an hour.
"""


def get_config() -> dict:
    return {
        "task": {
            "name": "tasks.image_classification",
            "mean": (0.491, 0.482, 0.447),
            "std": (0.247, 0.243, 0.262),
            "crop": 4,
            "flip": True,
        },
        "data": {"name": "data.jpeg_images", "path": "cifar10_jpgbytes.npz", "batch_size": 128},
        "model": {"name": "convolution.cifar_resnet20"},
        "optimizer": {"name": "optimizers.sgd", "learning_rate": 0.1, "warmup_steps": 400, "weight_decay": 0.0001},
        "train": {"steps": 64000, "evaluate_every": 351, "log_every": 20},
    }
