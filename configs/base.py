"""The common settings and their defaults: a config lists what differs. docs/settings.md says what each one is."""


def get_config() -> dict:
    return {
        "seed": 0,
        "optimizer": {
            "name": "optimizers.adamw",
            "learning_rate": 1e-3,
            "final": 0.02,
            "clip": 1.0,
            "average": 0.0,
            "frozen": "",
            "plateau": 0.0,
            "patience": 5,
        },
        "train": {
            "steps": 1000,
            "schedule_steps": 0,
            "minutes": 0.0,
            "accumulate": 1,
            "evaluate_every": 100,
            "log_every": 25,
            "report_every": 0,
            "keep": 2,
            "keep_every": 0,
            "background_saves": False,
            "not_finite": "stop",
            "not_finite_limit": 10,
            "begin_from": "",
            "begin_step": "best",
            "begin_without": "",
        },
        "devices": {"model": 1, "fully_sharded": False},
        "evaluators": {},
        "reports": {},
    }
