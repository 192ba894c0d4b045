"""How good a prediction is: confusion matrix and scores, and inference on whole images."""
