"""Detection of unusual images by the likelihood of a PixelCNN of normal images.

    python -m jaxnets.train --config=anomaly_image
    python -m jaxnets.evaluate --workdir=runs/anomaly_image --split=test

The default is trained on handwritten digits of 8 x 8 pixels, sampled as bits. The test split also holds images of one
intensity, which are the most likely ones of all, and noise. The variants ``complexity`` and ``typicality`` choose other
scores. A likelihood ratio needs a background model, trained on digits with random pixels:

    python -m jaxnets.train --config=pixelcnn --config.task.mutation=0.2 --workdir=runs/background
    python -m jaxnets.train --config=anomaly_image --config.task.score=ratio
        --config.task.background='{"run": "runs/background"}'

The variant ``mnist`` is for MNIST, or other images in the same four IDX files. It can use a run of ``pixelcnn:mnist``
without further training, and compare with the test split of any data source of images:

    python -m jaxnets.train --config=anomaly_image:mnist --config.data.images.path=folder/of/mnist
        --config.train.init_from=runs/pixelcnn_mnist --config.train.steps=1 --config.optimizer.learning_rate=0
        --config.data.others='{"letters": {"name": "data.image_arrays", "path": "letters.npz"}}'
"""

DIGITS = {"name": "data.image_anomalies", "images": {"name": "data.digits", "read_as": "images"}}
IDX = {"name": "data.idx", "path": "mnist", "read_as": "images", "batch_size": 32, "validation_fraction": 0.05}
GATED = {"name": "generative.GatedPixelCNN", "image_shape": (8, 8, 1), "num_layers": 5}
TASK = {"name": "tasks.likelihood_detection", "density": {"factory": "tasks.autoregressive_images"}}

VARIANTS: dict[str, dict] = {
    "complexity": {"task": {**TASK, "score": "complexity"}},
    "typicality": {"task": {**TASK, "score": "typicality"}},
    "mnist": {
        "data": {"name": "data.image_anomalies", "images": IDX},
        "model": {"name": "generative.PixelCNN"},
        "train": {"steps": 17_800, "evaluate_every": 1780, "log_every": 89, "report_every": 3560},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": TASK,
        "data": DIGITS,
        "model": GATED,
        "optimizer": {"learning_rate": 2e-3, "end_lr_factor": 0.05},
        "train": {"steps": 800, "evaluate_every": 200},
        **VARIANTS.get(variant, {}),
    }
