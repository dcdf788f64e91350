"""Image prompts from several pictures of one person, for a latent diffusion model."""
