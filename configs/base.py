"""Common settings and their defaults. A config lists only what differs; docs/settings.md describes each setting."""


def get_config() -> dict:
    return {
        "seed": 0,
        "optimizer": {
            "name": "optimizers.adamw",
            "learning_rate": 1e-3,
            "end_lr_factor": 0.02,
            "clip_norm": 1.0,
            "ema_decay": 0.0,
            "frozen": "",
            "plateau_factor": 0.0,
            "plateau_patience": 5,
        },
        "train": {
            "steps": 1000,
            "schedule_steps": 0,
            "max_minutes": 0.0,
            "grad_accum_steps": 1,
            "evaluate_every": 100,
            "log_every": 25,
            "report_every": 0,
            "max_to_keep": 2,
            "keep_period": 0,
            "async_checkpointing": False,
            "nan_policy": "stop",
            "nan_limit": 10,
            "init_from": "",
            "init_step": "best",
            "init_exclude": "",
        },
        "devices": {"model_parallel": 1, "fsdp": False},
        "evaluators": {},
        "reports": {},
    }
