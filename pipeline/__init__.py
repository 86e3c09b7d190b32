"""A reproducible training pipeline for Oxford-IIIT Pets. Here: what is set before the other imports."""

import os
import sys

from pipeline.start import begin

# What changes the bytes or ends a program is not taken from the user's environment and files.
KEPT = ("TF_CPP_", "TF_NUM_", "TF_GPU_", "TF_FORCE_GPU_")  # what is printed, and how much of a machine is used
for _name in [*os.environ]:
    if _name.startswith(("KERAS_", "TF_", "ONEDNN_", "DNNL_")) and not _name.startswith(KEPT):
        del os.environ[_name]
os.environ["KERAS_HOME"] = os.devnull
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports a machine without a GPU as an error

if sys.argv[0] == "-m":  # a program of this package starts
    os.environ.update(MATPLOTLIBRC=os.devnull, MPLBACKEND="agg")
    begin()
