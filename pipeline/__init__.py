"""A reproducible training pipeline for Oxford-IIIT Pets. Here: what is set before the other imports."""

import os
import sys

from pipeline.start import begin

# A program of this package starts, and no other that imports it. Python 3.9 does not know its arguments.
if sys.argv[0] == "-m" and "-mpipeline." in "".join(getattr(sys, "orig_argv", ["-mpipeline."])):
    # What changes the bytes or ends a program is not taken from the user's environment and files.
    kept = ("TF_CPP_", "TF_NUM_", "TF_GPU_", "TF_FORCE_GPU_")  # what is printed, and how much of a machine is used
    for name in [*os.environ]:
        if name.startswith(("KERAS_", "TF_", "ONEDNN_", "DNNL_")) and not name.startswith(kept):
            del os.environ[name]
    os.environ.update(KERAS_HOME=os.devnull, MATPLOTLIBRC=os.devnull, MPLBACKEND="agg")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports a machine without a GPU as an error
    begin()
