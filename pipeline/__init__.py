"""A reproducible training pipeline for Oxford-IIIT Pets. Here: what libraries read from the environment at import."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports a machine without a GPU as an error
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of seven, a server that is away costs 4 minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds; of 120, one that hangs costs minutes
os.environ.pop("MLFLOW_RUN_ID", None)  # each training has its own run
