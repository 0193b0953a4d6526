"""What other tools have written, sent to a server: TensorBoard's event files."""
