"""Import what other tools have written: TensorBoard's event files."""
