"""Other libraries' projectors, brought to this project's units, axes and angles; imported on demand."""
