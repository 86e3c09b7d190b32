"""MLflow: one store per repository, one run per training, tied to DVC by content. Only this package imports mlflow."""
