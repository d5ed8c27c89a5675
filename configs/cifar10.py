"""ResNet-20 on CIFAR-10 (He et al. 2016), from an npz file of JPEG bytes: the published recipe, but for
the learning rate (a cosine after a warm-up, not two steps down) and the decay (of matrices only).

python -m jaxnets.train --config=cifar10 --config.data.path=cifar10_jpgbytes.npz

The file holds ``jpg_train`` (bytes), ``off_train`` (where each image begins) and ``y_train``, and the same of ``test``;
arrays of pixels in Keras's manner are read with ``--config.data.name=data.image_arrays``. Published, for the original
images: 91.25 % of the test part right after 64,000 steps (182 epochs). On two CPU cores a step takes 0.45 seconds:
``--config.train.steps=7500`` for an hour.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "tasks.image_classification",
                "mean": (0.491, 0.482, 0.447),
                "deviation": (0.247, 0.243, 0.262),
                "crop": 4,
                "scale": 1.0,
                "flip": True,
                "rotation": 0.0,
                "cutout": 0,
                "mixup": 0.0,
                "label_smoothing": 0.0,
            },
            "data": {"name": "data.jpeg_images", "path": "cifar10_jpgbytes.npz", "batch": 128, "validation": 0.1},
            "model": {"name": "convolution.cifar_resnet20", "dtype": "float32"},
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.1,
                "warmup": 400,
                "final": 0.0,
                "momentum": 0.9,
                "nesterov": False,
                "weight_decay": 1e-4,
                "clip": 0.0,
                "average": 0.0,
            },
            "train": {"steps": 64000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 351, "log_every": 20},
        }
    )
