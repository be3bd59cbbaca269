"""The bedside half: released bundles and the predictor, on ONNX Runtime. Never imports torch."""
