"""MLflow: runs and versions that show what DVC holds. The only code that imports mlflow; here, what it reads then."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of seven, a server that is away costs 4 minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds; of 120, one that hangs costs minutes
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with the name and the password in it
for _name in ("MLFLOW_RUN_ID", "MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_LOGGING_LEVEL"):  # each training has its own run
    os.environ.pop(_name, None)
