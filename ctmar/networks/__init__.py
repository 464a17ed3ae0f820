"""Networks as plain ``torch.nn.Module``: nothing here knows Lightning, samples or losses."""
