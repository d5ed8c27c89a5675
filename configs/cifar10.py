"""ResNet-20 on CIFAR-10 (He et al. 2016), from an npz file of JPEG bytes: the published recipe, but for
the learning rate (a cosine after a warm-up, not two steps down) and the decay (of matrices only).

python -m jaxnets.train --config=cifar10 --config.data.path=cifar10_jpgbytes.npz

The file holds ``jpg_train`` (bytes), ``off_train`` (where each image begins) and ``y_train``, and the same of ``test``;
arrays of pixels in Keras's manner are read by ``data.image_arrays`` (``--config.data.name``). Published, for the
original images: 91.25 % of the test part right after 64,000 steps (182 epochs). On two CPU cores a step takes 0.45
seconds: ``--config.train.steps=7500`` for an hour.
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
