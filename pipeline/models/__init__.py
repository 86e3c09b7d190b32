"""The architectures: a folder per task, a file per architecture, which has one public function, `build`.

`build(image_size)` returns a Keras model that takes pictures of 0 to 255, scales them itself and ends in probabilities.
It holds only Keras' own layers, so that a checkpoint loads without this project.
"""
