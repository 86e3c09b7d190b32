"""A reproducible training pipeline for Oxford-IIIT Pets. Here: what is settled before the other imports."""

import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports a machine without a GPU as an error
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of seven, a server that is away costs 4 minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds; of 120, one that hangs costs minutes
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with the name and the password in it
os.environ.pop("MLFLOW_RUN_ID", None)  # each training has its own run
os.environ["KERAS_HOME"] = os.environ["MATPLOTLIBRC"] = os.devnull  # no settings of the user's: they change the bytes
for _name in ("KERAS_BACKEND", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_name, None)

if sys.argv[0] == "-m":  # a program of this package starts, whose imports make a million objects and no garbage
    gc.disable()  # until it has them (stage.py): 1.2 of 4.8 s before a training

STARTED_BY = os.getppid()  # asked before the imports: they take seconds, in which it may be killed
