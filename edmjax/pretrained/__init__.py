"""Networks that others trained, for samplers: a directory in, a denoiser out."""
